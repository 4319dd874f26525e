"""A network of one machine: answers for one name that ends in .local, by multicast on `lo` (RFC 6762), and runs an sshd.

    local_network.py NAME SSHD_CONFIG PORT PROGRAM [ARGUMENT...]

Runs the program in it and ends with its status. Needs a network namespace of its own, in which `lo` is switched on.
"""

import fcntl
import socket
import struct
import subprocess
import sys
import threading
import time

GROUP, PORT = "224.0.0.251", 5353
HERE = socket.inet_aton("127.0.0.1")
SIOCSIFFLAGS = 0x8914
UP_AND_MULTICAST = 0x1 | 0x1000


def encoded(name):
    labels = name.rstrip(".").encode().split(b".")
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def answer_for(name, network):
    question = encoded(name)
    record = question + struct.pack(">HHIH", 1, 0x8001, 120, 4) + HERE
    while True:
        packet, _ = network.recvfrom(9000)
        is_query = packet[2] & 0x80 == 0
        if is_query and question.lower() in packet.lower():
            network.sendto(struct.pack(">6H", 0, 0x8400, 0, 1, 0, 0) + record, (GROUP, PORT))


def main():
    name, config, port, *program = sys.argv[1:]
    network = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    fcntl.ioctl(network, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", UP_AND_MULTICAST))
    network.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    network.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    network.bind(("", PORT))
    network.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + HERE)
    network.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, HERE)
    threading.Thread(target=answer_for, args=(name, network), daemon=True).start()
    sshd = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", config, "-o", "PidFile=none"])
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", int(port))).close()
            break
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
    status = subprocess.run(program).returncode
    sshd.terminate()
    sshd.wait()
    sys.exit(status)


main()
