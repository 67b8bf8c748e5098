"""A session with a wharfd that an emulator runs: login, list, get, put,
resume, sizes beyond 4 GiB and times beyond 2038 (which a 32-bit build gets
wrong first), over FTP and through the SFTP subsystem; where it was built with
them, also over FTPS and SSH.

    python3 session.py EMULATOR|- PROGRAM
"""

import ftplib
import io
import os
import re
import ssl
import subprocess
import sys
import tempfile

DEADLINE = 120
GIB = 1 << 30
HUGE = 5 * GIB
# 2040-12-31 23:59:58
LATE = "20401231235958"
LATE_SECONDS = 2240611198


def same(what, got, want):
    if got != want:
        sys.exit(f"cross-check: {what}: got {got!r}, not {want!r}")


def holes(name, tail):
    """A file of HUGE bytes and `tail`, without blocks on the disk."""
    with open(name, "wb") as file:
        file.seek(HUGE)
        file.write(tail)


def ftp_session(port, root):
    ftp = ftplib.FTP()
    ftp.connect("127.0.0.1", port, timeout=DEADLINE)
    ftp.login("ann", "secret")

    content = bytes(range(256)) * 4096
    ftp.storbinary("STOR sent", io.BytesIO(content[:300_000]))
    # Resumed: the rest from where it broke off.
    rest = ftp.size("sent")
    same("the size of a part", rest, 300_000)
    ftp.storbinary("STOR sent", io.BytesIO(content[rest:]), rest=rest)
    with open(os.path.join(root, "sent"), "rb") as file:
        same("an upload in two parts", file.read(), content)

    got = io.BytesIO()
    ftp.retrbinary("RETR sent", got.write)
    same("a download", got.getvalue(), content)
    got = io.BytesIO()
    ftp.retrbinary("RETR sent", got.write, rest=1_000_000)
    same("a resumed download", got.getvalue(), content[1_000_000:])

    ftp.mkd("inner")
    same("NLST", sorted(ftp.nlst()), ["inner", "sent"])
    same("LIST", len(listing(ftp)), 2)

    holes(os.path.join(root, "huge"), b"the end")
    same("SIZE beyond 4 GiB", ftp.size("huge"), HUGE + 7)
    got = io.BytesIO()
    ftp.retrbinary("RETR huge", got.write, rest=HUGE)
    same("RETR from beyond 4 GiB", got.getvalue(), b"the end")
    ftp.storbinary("STOR huge", io.BytesIO(b"the last"), rest=HUGE + 4)
    ftp.storbinary("APPE huge", io.BytesIO(b"!"))
    got = io.BytesIO()
    ftp.retrbinary("RETR huge", got.write, rest=HUGE)
    same("STOR and APPE beyond 4 GiB", got.getvalue(), b"the the last!")
    lines = [line for line in listing(ftp) if line.endswith(" huge")]
    same("LIST beyond 4 GiB", f" {HUGE + 13} " in lines[0], True)

    ftp.sendcmd(f"MFMT {LATE} sent")
    same("MDTM beyond 2038", ftp.sendcmd("MDTM sent"), f"213 {LATE}")
    same("the disk's time", int(os.stat(os.path.join(root, "sent")).st_mtime), LATE_SECONDS)
    facts = dict(ftp.mlsd("", ["modify", "size"]))
    same("MLSD beyond 2038", facts["sent"]["modify"], LATE)
    same("MLSD beyond 4 GiB", facts["huge"]["size"], str(HUGE + 13))
    years = [line for line in listing(ftp) if line.endswith(" sent")]
    same("LIST beyond 2038", " 2040 " in years[0], True)

    ftp.rename("sent", "inner/moved")
    ftp.delete("inner/moved")
    ftp.rmd("inner")
    ftp.quit()


def tls_session(port, root):
    """Control and data connections under TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    ftp = ftplib.FTP_TLS(context=context)
    ftp.connect("127.0.0.1", port, timeout=DEADLINE)
    ftp.login("ann", "secret")
    ftp.prot_p()
    content = bytes(range(256)) * 4096
    ftp.storbinary("STOR secret", io.BytesIO(content[:300_000]))
    ftp.storbinary("STOR secret", io.BytesIO(content[300_000:]), rest=300_000)
    got = io.BytesIO()
    ftp.retrbinary("RETR secret", got.write)
    same("a download under TLS", got.getvalue(), content)
    same("LIST under TLS", any(line.endswith(" secret") for line in listing(ftp)), True)
    ftp.quit()
    os.remove(os.path.join(root, "secret"))


def listing(ftp):
    lines = []
    ftp.retrlines("LIST", lines.append)
    return lines


def sftp_session(way, root, work):
    """With OpenSSH's client, whose words for the `way` to the server are given."""
    sent = os.path.join(work, "local")
    with open(sent, "wb") as file:
        file.write(b"0123456789" * 50_000)
    os.utime(sent, (LATE_SECONDS, LATE_SECONDS))
    back = os.path.join(work, "back")
    with open(back, "wb") as file:
        file.write(b"0123456789" * 20_000)
    batch = f"put -p {sent} over-sftp\nreget over-sftp {back}\nls -ln\nbye\n"
    done = subprocess.run(
        ["sftp", "-q", "-b", "-", *way],
        input=batch.encode(), capture_output=True, timeout=DEADLINE, check=False,
    )
    if done.returncode != 0:
        sys.exit(f"cross-check: sftp: {done.stderr.decode(errors='replace')}")
    with open(back, "rb") as file:
        same("reget", file.read(), b"0123456789" * 50_000)
    same("a late time over SFTP", int(os.stat(os.path.join(root, "over-sftp")).st_mtime), LATE_SECONDS)
    same("ls beyond 4 GiB", str(HUGE + 13) in done.stdout.decode(), True)


def port_of(server):
    """Of the next listener."""
    line = server.stdout.readline().decode()
    found = re.search(r":(\d+)\s*$", line)
    if not found:
        sys.exit(f"cross-check: the server does not say its port: {line!r}")
    return int(found.group(1))


def main():
    emulator, program = sys.argv[1:]
    command = [program] if emulator == "-" else [emulator, program]
    with tempfile.TemporaryDirectory() as work:
        root = os.path.join(work, "root")
        os.mkdir(root)
        users = os.path.join(work, "users")
        subprocess.run([*command, "passwd", "-c", users, "ann"], input=b"secret\n", check=True,
                       capture_output=True, timeout=DEADLINE)
        key = os.path.join(work, "key")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
        with open(users, encoding="utf-8") as file:
            name, secret, *_ = file.read().rstrip("\n").split(":")
        with open(users, "w", encoding="utf-8") as file:
            file.write(":".join([name, secret, root, "read-write", f"keys={key}.pub"]) + "\n")
        version = subprocess.run([*command, "--version"], check=True, capture_output=True,
                                 timeout=DEADLINE).stdout.decode()
        protocols = ["FTP", "SFTP"]
        more = ["--state-dir", work]
        if os.geteuid() == 0:
            # The tree is root's, and nobody else may enter it.
            more += ["--user", "0"]
        if "+ftps" in version:
            protocols.append("FTPS")
            more.append("--self-signed")
        if "+sftp" in version:
            protocols.append("SSH")
            more += ["--listen-sftp", "127.0.0.1:0"]
        server = subprocess.Popen(
            [*command, "--listen", "127.0.0.1:0", "--print-port", "--users", users, "--threads", "4",
             "--login-delay", "0", *more],
            stdout=subprocess.PIPE,
        )
        try:
            port = port_of(server)
            ftp_session(port, root)
            if "FTPS" in protocols:
                tls_session(port, root)
            # The subsystem, with no sshd between.
            subsystem = " ".join([*command, "--sftp-server", "--root", root])
            sftp_session(["-D", subsystem], root, work)
            if "SSH" in protocols:
                options = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
                there = ["-i", key, "-P", str(port_of(server)), *options, "ann@127.0.0.1"]
                sftp_session(there, root, work)
        finally:
            server.terminate()
            status = server.wait(timeout=DEADLINE)
        same("the server's end", status, 0)
    print(f"           sessions over {', '.join(protocols)}, 5 GiB and the year 2040: well")


if __name__ == "__main__":
    main()
