"""An SSH server made with AsyncSSH. It runs one command whatever it is asked for, and hands over what that was, as sshd
does; `--no-exit-status` keeps to itself how it ended. It prints its port as soon as it listens."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE

import asyncssh

key, allowed, forced, *flags = sys.argv[1:]


async def run(process):
    environment = dict(os.environ, SSH_ORIGINAL_COMMAND=process.command or "")
    child = await asyncio.create_subprocess_exec(
        "sh", "-c", forced, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment
    )
    await process.redirect(stdin=child.stdin, stdout=child.stdout, stderr=child.stderr)
    status = await child.wait()
    await process.stdout.drain()
    await process.stderr.drain()
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
