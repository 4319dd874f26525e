"""An SSH server made with paramiko. It runs one command whatever it is asked for, and hands over what that was, as sshd
does. It prints its port as soon as it listens."""

import os
import socket
import subprocess
import sys
import threading

import paramiko

host_key_file, allowed_file, forced = sys.argv[1:]
host_key = paramiko.PKey.from_path(host_key_file)
allowed = open(allowed_file).read().split()[1]


def run(channel, command):
    environment = dict(os.environ, SSH_ORIGINAL_COMMAND=command.decode())
    pipe = subprocess.PIPE
    child = subprocess.Popen(
        ["sh", "-c", forced], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment
    )

    def feed():
        try:
            while data := channel.recv(32768):
                child.stdin.write(data)
        except OSError:
            pass
        child.stdin.close()

    def tell(source, send):
        try:
            while data := source.read(32768):
                send(data)
        except OSError:
            child.kill()

    threading.Thread(target=feed, daemon=True).start()
    tellers = [
        threading.Thread(target=tell, args=pair)
        for pair in [(child.stdout, channel.sendall), (child.stderr, channel.sendall_stderr)]
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join()
    channel.send_exit_status(child.wait())
    channel.close()


class Server(paramiko.ServerInterface):
    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if key.get_base64() == allowed else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, chanid):
        return paramiko.OPEN_SUCCEEDED if kind == "session" else paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=run, args=(channel, command), daemon=True).start()
        return True


def serve(connection):
    transport = paramiko.Transport(connection)
    transport.add_server_key(host_key)
    transport.start_server(server=Server())
    transport.join()


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
