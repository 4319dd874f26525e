"""An SSH server made with AsyncSSH. It runs one command whatever it is asked for, and hands over what that was, as sshd
does; `--no-exit-status` keeps to itself how it ended. It prints its port as soon as it listens."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import asyncssh

key, allowed, forced, *flags = sys.argv[1:]


async def carry(source, sink):
    """Hands over all that comes, until its end or until nobody takes it any more."""
    try:
        while data := await source.read(32768):
            sink.write(data)
            await sink.drain()
    except (ConnectionError, asyncssh.Error):
        pass


async def feed(source, sink):
    await carry(source, sink)
    sink.close()


async def run(process):
    environment = dict(os.environ, SSH_ORIGINAL_COMMAND=process.command or "")
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", forced, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    feeding = asyncio.create_task(feed(process.stdin, child.stdin))
    await asyncio.gather(carry(child.stdout, process.stdout), carry(child.stderr, process.stderr))
    status = await child.wait()
    feeding.cancel()
    if flags:
        process.close()
    else:
        process.exit(status)


async def main():
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[key], authorized_client_keys=allowed, process_factory=run, encoding=None
    )
    print(server.get_port(), flush=True)
    await server.wait_closed()


asyncio.run(main())
