"""The servers that are measured: catchat itself, nginx, nchan in nginx, Flask under gunicorn."""

import contextlib
import json
import os
import subprocess
import sys

from rig import (BINARY, LOAD_CORE, ROOT, SCRATCH, SERVER_CORE, Meter, free_port, need, pinned, say, spawn,
                 stop, wait_for)

DESCRIPTORS = 20_000
NGINX_MODULES = "/usr/lib/nginx/modules"
MESSAGE = "hi+everybody"
FORM = f"username=omri&message={MESSAGE}"

# What is best for nginx was measured: open_file_cache on, sendfile with tcp_nopush.
NGINX = """
{module}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {scratch}/nginx-{port}.pid;
error_log {scratch}/nginx-{port}.error.log crit;
events {{ worker_connections {descriptors}; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_requests 1000000000;
    keepalive_timeout 1h;
    open_file_cache max=10000 inactive=1h;
    open_file_cache_valid 1h;
    default_type "text/plain; charset=utf-8";
    client_body_temp_path {scratch}/nginx-body;
    proxy_temp_path {scratch}/nginx-proxy;
    fastcgi_temp_path {scratch}/nginx-fastcgi;
    uwsgi_temp_path {scratch}/nginx-uwsgi;
    scgi_temp_path {scratch}/nginx-scgi;
    {http}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        {server}
    }}
}}
"""

NCHAN_HTTP = "nchan_shared_memory_size 512M;"
NCHAN_SERVER = """
        location = /publish {
            nchan_publisher;
            nchan_channel_id bench;
            nchan_message_buffer_length 100;
            nchan_message_timeout 1m;
        }
        location = /subscribe {
            nchan_subscriber eventsource;
            nchan_channel_id bench;
            nchan_subscriber_first_message newest;
        }
        location = /stub { nchan_stub_status; }
"""

# The chat that such an exercise starts from: a form field read, a line appended, nothing synced.
FLASK_APP = '''
import os
from datetime import datetime

from flask import Flask, request

app = Flask(__name__)
DATA = os.environ["BENCH_DATA"]


@app.post("/chat/<room>")
def post(room):
    stamp = datetime.utcnow().strftime("%Y-%m-%d %H:%M:%S")
    line = f"[{stamp}] {request.form['username']}: {request.form['message']}\\n"
    with open(os.path.join(DATA, room + ".log"), "a", encoding="utf-8") as log:
        log.write(line)
    return line, 201
'''


class Server:
    """A running server: its child process and its port."""

    def __init__(self, name, child, port):
        self.name, self.child, self.port = name, child, port

    @property
    def pid(self):
        """The first process; the others are its children."""
        return self.child.pid


@contextlib.contextmanager
def _running(name, command, port, core=SERVER_CORE, **keywords):
    log = SCRATCH / f"{name}-{port}.stderr"
    with open(log, "wb") as err:
        child = spawn(command, core, stdout=subprocess.DEVNULL, stderr=err, **keywords)
    try:
        wait_for(port, child)
        yield Server(name, child, port)
    except SystemExit:
        say(log.read_text(errors="replace")[-2000:])
        raise
    finally:
        stop(child)


def build(*features):
    """The program as it is released, by default without what is optional."""
    command = ["cargo", "build", "--release", "--locked", *features]
    say(f"building: {' '.join(command)}")
    if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
        sys.exit("bench: the build failed")


def build_load_client():
    """The path of the program in fanout.rs, built."""
    command = ["cargo", "build", "--release", "--locked", "--bench", "fanout", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == "fanout":
            return message["executable"]
    sys.exit(f"bench: the load client does not build\n{done.stderr}")


def catchat(data, name="bench", program=BINARY):
    """The server under test, its rooms in `data`."""
    port = free_port()
    command = [program, "--listen", f"127.0.0.1:{port}", "--store", data, "--name", name]
    return _running("catchat", command, port)


def _nginx(name, module, http, server):
    need({"nginx": "nginx"})
    port = free_port()
    settings = SCRATCH / f"nginx-{port}.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    settings.write_text(NGINX.format(module=user + module, descriptors=DESCRIPTORS, scratch=SCRATCH,
                                     port=port, http=http, server=server))
    return _running(name, ["nginx", "-p", SCRATCH, "-c", settings], port)


def nginx_static(data):
    """nginx that serves the same log files from disk, under the same path."""
    return _nginx("nginx", "", "", f"location /chat/ {{ alias {data}/; }}")


def nchan():
    """nginx with nchan, messages in shared memory."""
    need({f"{NGINX_MODULES}/ngx_nchan_module.so": "libnginx-mod-nchan"})
    load = f"load_module {NGINX_MODULES}/ngx_nchan_module.so;"
    return _nginx("nchan", load, NCHAN_HTTP, NCHAN_SERVER)


def flask(data):
    """The naive chat on two gunicorn workers."""
    home = SCRATCH / "flask"
    python = home / "bin" / "python"
    if not (home / "bin" / "gunicorn").exists():
        if not _has_venv():
            need({"/usr/share/doc/python3-venv": "python3-venv"})
        say(f"installing flask and gunicorn into {home}")
        subprocess.run([sys.executable, "-m", "venv", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "flask", "gunicorn"], check=True)
    (home / "naive.py").write_text(FLASK_APP)
    port = free_port()
    command = [python, "-m", "gunicorn", "--workers", "2", "--bind", f"127.0.0.1:{port}",
               "--log-level", "error", "naive:app"]
    return _running("flask", command, port, cwd=home, env={**os.environ, "BENCH_DATA": str(data)})


def _has_venv():
    try:
        import ensurepip  # noqa: F401  (what Debian splits off into python3-venv)
    except ImportError:
        return False
    return True


def wrk(server, path, connections, seconds, *mode):
    """One run of wrk, watched: (figures, percent that others took)."""
    need({"wrk": "wrk"})
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s",
               ROOT / "benches" / "wrk.lua", f"http://127.0.0.1:{server.port}{path}", "--", *mode]
    meter = Meter(server.pid)
    done = subprocess.run(pinned(LOAD_CORE, command), capture_output=True, text=True, check=False)
    cpu = meter.read()
    figures = {"statuses": {}}
    for line in done.stdout.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "RESULT":
            figures |= {k: int(v) for k, v in (pair.split("=") for pair in rest.split())}
        elif kind == "STATUS":
            status, count = rest.split("=")
            figures["statuses"][status] = int(count)
    if "requests" not in figures:
        sys.exit(f"bench: wrk failed: {done.stdout}{done.stderr}")
    figures["per_second"] = figures["requests"] * 1e6 / figures["duration_us"]
    figures["errors"] = sum(figures[k] for k in ("connect", "read", "write", "status", "timeout"))
    figures["cpu"] = cpu
    server_cpu, load_cpu, others = cpu
    say(f"  {server.name:8} {figures['per_second']:>10,.0f}/s  p50 {figures['p50_us']} us  "
        f"p99 {figures['p99_us']} us  errors {figures['errors']}  "
        f"cpu: server {server_cpu:.0f} %, wrk {load_cpu:.0f} %, others {others:.0f} %")
    if figures["errors"]:
        say(f"    errors: { {k: figures[k] for k in ('connect', 'read', 'write', 'status', 'timeout')} }")
    return figures, others
