"""A rolling update, played with processes of this machine: what a Deployment, a kubelet and a Service do with pods.

How long things take, what is asked, and what pods are started with is read from the manifests. nginx is the Service. It
learns late of a pod that ends, as load balancers do.
"""

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from tests.cluster import Program, status_of, wait_until
from tests.k8s import manifests
from tests.k8s.manifests import Object
from tests.nginx import Nginx

STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
COMMON = (
    "worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{ worker_connections 512; }}"
)
# A gateway: it chooses a pod for each request, and keeps connections to the pods. Callers get a new one each time, for
# nginx ends theirs at once when it is told of other pods.
GATEWAY = """
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  upstream pods {{ {servers} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port}; keepalive_timeout 0; client_max_body_size 0;
    location / {{
      proxy_pass http://pods; proxy_http_version 1.1; proxy_request_buffering off; proxy_next_upstream off;
      proxy_set_header Connection ""; proxy_set_header Host $http_host;
    }}
  }}
}}
"""
# A Service: it chooses a pod for each connection, which then stays there however long it lasts.
SERVICE = """
stream {{
  upstream pods {{ {servers} }}
  server {{ listen 127.0.0.1:{port}; proxy_pass pods; proxy_next_upstream off; proxy_timeout 1h; }}
}}
"""


@dataclass
class Front(Nginx):
    """What stands in front of pods. form: GATEWAY or SERVICE; port: where it listens."""

    port: int = field(kw_only=True)
    form: str = field(kw_only=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def configuration(self, ports: Sequence[int]) -> str:
        servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
        module = f"load_module {STREAM};\n" if self.form == SERVICE else ""
        return module + (COMMON + self.form).format(folder=self.folder, port=self.port, servers=servers)


@dataclass(frozen=True)
class Rules:
    """What the manifest says of its pods' lives. Times in seconds; env: that of the container."""

    ready_path: str
    pre_stop: float
    grace: float
    env: Mapping[str, str]

    @classmethod
    def of(cls, objects: list[Object], deployment: str, container: str) -> "Rules":
        pod = manifests.workload(objects, deployment)
        update = pod.source["spec"]["strategy"]["rollingUpdate"]
        assert update == {"maxSurge": 1, "maxUnavailable": 0}, "what `Deployment.replace_all` does"
        main = pod.container(container)
        return cls(
            main["readinessProbe"]["httpGet"]["path"],
            main["lifecycle"]["preStop"]["sleep"]["seconds"],
            pod.pod["terminationGracePeriodSeconds"],
            manifests.environment(objects, main),
        )


@dataclass
class Pod:
    """port: where its Service reaches it; probed: where its main process is asked whether it is ready.

    beside: the processes beside that one, which end after it.
    """

    port: int
    probed: int
    main: Program
    beside: Sequence[Program] = ()

    @property
    def programs(self) -> list[Program]:
        return [*self.beside, self.main]


@dataclass
class Deployment:
    """Pods of one kind, and what stands in front of them.

    late: seconds until that has learned of a pod that ends. told: pods whose SIGTERM has been sent.
    """

    rules: Rules
    front: Front
    late: float
    make: Callable[[], Pod]
    pods: list[Pod] = field(default_factory=list)
    told: list[Pod] = field(default_factory=list)
    _changing: threading.Lock = field(default_factory=threading.Lock)

    def start(self, replicas: int) -> None:
        self.pods = [self._begin() for _ in range(replicas)]
        self.front.start([pod.port for pod in self.pods])

    def stop(self) -> None:
        """At once, whatever they do."""
        self.front.stop()
        for pod in self.pods:
            for program in pod.programs:
                program.end(signal.SIGKILL)

    def replace_all(self) -> list[Pod]:
        """Each pod by a new one, one after the other, as `kubectl rollout restart` does; returns the old ones.

        Returns when the old ones have ended. One that ends with an error, or not within its grace period, is a failure.
        """
        old = list(self.pods)
        with ThreadPoolExecutor() as threads:
            ends = []
            for pod in old:
                new = self._begin()
                self._change(lambda pods, new=new: [*pods, new])
                ends.append(threads.submit(self._end, pod))
            for each in ends:
                each.result()
        return old

    def _begin(self) -> Pod:
        pod = self.make()
        for program in pod.programs:
            program.start()
        url = f"http://127.0.0.1:{pod.probed}{self.rules.ready_path}"
        wait_until(f"{pod.main.name} is ready", lambda: status_of(url) == 200)
        return pod

    def _change(self, change: Callable[[list[Pod]], list[Pod]]) -> None:
        with self._changing:
            self.pods = change(self.pods)
            self.front.point_at([pod.port for pod in self.pods])

    def _end(self, old: Pod) -> None:
        """The kubelet begins at once; whoever sends requests to the pod learns of it meanwhile."""
        killed_at = time.monotonic() + self.rules.grace
        learns = threading.Timer(self.late, self._change, [lambda pods: [each for each in pods if each is not old]])
        learns.start()
        try:
            time.sleep(self.rules.pre_stop)
            self.told.append(old)
            status = told_to_end(old.main, signal.SIGTERM, killed_at)
            for program in old.beside:
                told_to_end(program, signal.SIGQUIT, killed_at)  # as the image of nginx has it
        finally:
            learns.join()
        assert status == 0, old.main.log[-4000:]


def told_to_end(program: Program, sig: int, killed_at: float) -> int:
    """The exit status of a program that ends by itself before that moment of time.monotonic()."""
    assert program.process
    program.process.send_signal(sig)
    try:
        return program.process.wait(killed_at - time.monotonic())
    except subprocess.TimeoutExpired:
        program.end(signal.SIGKILL)
        raise AssertionError(f"{program.name} was killed:\n{program.log[-4000:]}") from None
