"""Makes sound inputs of every form for the targets, from the store that is kept and from a folder of small models.

    python3 fuzz/make_corpus.py ../shared/models

Files that are there already stay; what failed once is put beside them by hand.
"""

import io
import json
import struct
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
STORE = HERE.parent / "tests/formats/v1/store"
MODELS = Path(sys.argv[1])
ADAPTER = MODELS / "tiny-llama-warmup/checkpoint-112"


def put(target, name, data):
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    if len(data) > 16 << 10:
        raise SystemExit(f"{target}/{name} has {len(data)} bytes: cut it")
    file = folder / name
    if not file.exists():
        file.write_bytes(data)


def text(value, **options):
    return json.dumps(value, **options).encode()


# The store: one segment of each storage type, one catalog file of each kind.
for feature in (1, 2, 3):
    smallest = min((STORE / f"segments/{feature}").iterdir(), key=lambda f: f.stat().st_size)
    put("segment", f"feature-{feature}", smallest.read_bytes())
# Indexes without their last 32 bytes, which the target makes to agree with what is before them.
for i, file in enumerate(sorted((STORE.parents[1] / "v1-indexes/store/indexes").iterdir(), key=lambda f: f.stat().st_size)[:3]):
    put("index", f"plain-{i}", file.read_bytes()[:-32])
put("index", "whole", file.read_bytes())
put("catalog", "current", b"\0" + (STORE / "CURRENT").read_bytes())
for kind, stem in ((1, "root"), (2, "dataset"), (3, "run"), (4, "feature")):
    largest = max((STORE / "manifests").glob(f"{stem}-*"), key=lambda f: f.stat().st_size)
    put("catalog", stem, bytes([kind]) + largest.read_bytes())
member = {"id": "m0", "group": "theta", "seed": 3, "rho": 0.5, "steps": 16, "subset": {"size": 2, "digest": "ab"}}
ensemble = {"name": "e", "number": 1, "uuid": "00000000-0000-0000-0000-000000000007", "base": {"id": "theta"}, "members": [member]}
artifact = {"name": "cheap", "number": 3, "kind": "prefilter", "datasets": ["pool"], "provenance": {"pool": "pool"}}
head = {"version": 1, "requires": []}
put("catalog", "ensemble", b"\5" + text(head | ensemble))
put("catalog", "artifact", b"\6" + text(head | artifact | {"content": {"weights": [0.1, 1e-300, -0.0]}}))
link = {"file": "00000000-0000-0000-0000-000000000007.bin", "digest": "0" * 32, "len": 5}
files = {"requires": ["artifact_files"], "files": [{"name": "gram"} | link]}
put("catalog", "artifact-files", b"\6" + text(head | artifact | files | {"content": None}))
put("ledger", "value", b"\x03key" + b"\x07" + b"\xfe" + bytes(range(16)) + b"\x01\x05hello")
put("ledger", "small", b"\x00\x01\x02\x00")

# Bitmaps of rows 3, 4, 9 and, as runs, 5..9 and 2^32 + 1.
array = struct.pack("<IIHHI3H", 12346, 1, 0, 2, 16, 3, 4, 9)
runs = struct.pack("<HHBHHHHH", 12347, 0, 1, 0, 3, 1, 5, 3)
one = struct.pack("<IIHHIH", 12346, 1, 0, 0, 16, 1)
put("bitmap", "array", struct.pack("<QI", 1, 0) + array)
put("bitmap", "runs", struct.pack("<QI", 2, 0) + runs + struct.pack("<I", 1) + one)
put("bitmap", "empty", struct.pack("<Q", 0))


# torch: the scheduler as it is; of the optimizer state the pickle, and a small archive in the same form.
def storage(key, n):
    name = str(key).encode()
    head = b"X\x07\0\0\0storagectorch\nFloatStorage\nX" + struct.pack("<I", len(name)) + name
    return b"(" + head + b"X\x03\0\0\0cpuK" + bytes([n]) + b"tQ"


def tensor(key, shape, stride):
    sizes = lambda values: b"(" + b"".join(b"K" + bytes([v]) for v in values) + b"t"
    n = 1
    for d in shape:
        n *= d
    body = storage(key, n) + b"K\0" + sizes(shape) + sizes(stride) + b"\x89ccollections\nOrderedDict\n)Rt"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + body + b"R"


def string(s):
    return b"X" + struct.pack("<I", len(s)) + s.encode()


state = b"}(" + string("step") + b"K\x70" + string("exp_avg") + tensor(0, (2, 3), (3, 1))
state += string("exp_avg_sq") + tensor(1, (2, 3), (1, 2)) + b"u"
group = b"}(" + string("initial_lr") + b"G" + struct.pack(">d", 2e-5) + string("params") + b"](K\0eu"
root = b"}(" + string("state") + b"}(K\0" + state + b"u" + string("param_groups") + b"](" + group + b"eu"
pickled = b"\x80\x02" + root + b"."
put("pickle", "optimizer", pickled)
put("pickle", "shared", b"\x80\x04\x95" + b"\0" * 8 + b"]\x94(K\x01\x88Nh\0\x8c\x02hi\x94\x8a\x02\xff\x7fG" + b"\0" * 8 + b"\x85e.")
put("pickle", "ordered", b"\x80\x02ccollections\nOrderedDict\n](](K\x01K\x02ee\x85R}b.")
for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        def add(entry, data):
            archive.writestr(zipfile.ZipInfo(f"archive/{entry}"), data, method)
        add("data.pkl", pickled)
        add("byteorder", b"little")
        for key in (0, 1):
            add(f"data/{key}", struct.pack("<6f", *range(6)))
    put("torch", name, out.getvalue())
put("torch", "scheduler", (ADAPTER / "scheduler.pt").read_bytes())
with zipfile.ZipFile(ADAPTER / "scheduler.pt") as archive:
    entry = next(n for n in archive.namelist() if n.endswith("data.pkl"))
    put("pickle", "scheduler", archive.read(entry))

# Weights: the real header of the adapter with its first tensors, and types in between.
def safetensors(tensors, metadata=None):
    header, offset = {}, 0
    if metadata:
        header["__metadata__"] = metadata
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    body = text(header, separators=(",", ":"))
    return struct.pack("<Q", len(body)) + body + bytes(i % 251 for i in range(offset))


put("safetensors", "types", safetensors(
    [("a", "F32", [2, 3], 24), ("b", "BF16", [3], 6), ("c", "F16", [1, 1], 2), ("d", "I64", [], 8), ("e", "F32", [0, 5], 0)],
    {"format": "pt"}))
put("safetensors", "empty", safetensors([]))
raw = (ADAPTER / "adapter_model.safetensors").read_bytes()
names = json.loads(raw[8 : 8 + struct.unpack("<Q", raw[:8])[0]])
few = [(n, "F32", [2, 2], 16) for n in sorted(names)[:6] if n != "__metadata__"]
put("safetensors", "adapter", safetensors(few))

# Configurations.
for zoo in sorted(MODELS.glob("zoo/*/config.json")):
    put("model_config", zoo.parent.name, zoo.read_bytes())
config = json.loads((MODELS / "tiny-llama/config.json").read_text())
put("model_config", "tiny-llama", text(config))
llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
put("model_config", "llama3", text({**config, "rope_scaling": llama3, "rope_theta": 500000.0}))
yarn = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 4096, "beta_fast": 16, "truncate": False, "mscale": 1.0, "mscale_all_dim": 0.5}
put("model_config", "yarn", text({**config, "rope_scaling": yarn}))
longrope = {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 16, "long_factor": [2.0] * 16}
put("model_config", "longrope", text({**config, "rope_scaling": longrope}))
put("model_config", "parameters", text({**config, "rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}))
adapter = json.loads((ADAPTER / "adapter_config.json").read_text())
put("adapter_config", "real", text(adapter))
small = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]}
put("adapter_config", "small", text(small))
put("adapter_config", "pattern", text({**small, "r": 8, "target_modules": "model\\.layers\\.\\d+\\..*(q|k)_proj",
    "rank_pattern": {"q_proj": 2, "layers.1.*": 16}, "alpha_pattern": {".*q_proj": 3.5}, "use_rslora": True}))
put("adapter_config", "all-linear", text({**small, "target_modules": "all-linear", "exclude_modules": ["lm_head"]}))
trainer = json.loads((ADAPTER / "trainer_state.json").read_text())
trainer["log_history"] = trainer["log_history"][:20]
put("trainer_state", "real", text(trainer))
put("trainer_state", "warm-up", text({"global_step": 40, "epoch": 1.5, "max_steps": 80, "log_history":
    [{"step": s, "learning_rate": 1e-5 * min(s, 20), "loss": 2.5, "epoch": s / 30} for s in range(5, 41, 5)]}))
put("trainer_state", "short", text({"global_step": 3, "log_history": []}))

# Tokenizers: the real one cut to a few hundred words, and small ones of the other kinds.
real = json.loads((MODELS / "tiny-llama/tokenizer.json").read_text())
model = real["model"]
if isinstance(model.get("vocab"), dict):
    model["vocab"] = dict(list(model["vocab"].items())[:300])
    if "merges" in model:
        parts = lambda m: m.split(" ") if isinstance(m, str) else m
        known = lambda m: all(p in model["vocab"] for p in parts(m)) and "".join(parts(m)) in model["vocab"]
        model["merges"] = [m for m in model["merges"] if known(m)][:100]
put("tokenizer", "real", text(real, ensure_ascii=False))


def tokenizer(model, **parts):
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [
        {"id": 0, "content": "</s>", "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": model}
    return text({**base, **parts})


put("tokenizer", "bpe", tokenizer(
    {"type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None, "end_of_word_suffix": None,
     "fuse_unk": True, "byte_fallback": True, "vocab": {"</s>": 0, "<unk>": 1, "a": 2, "b": 3, "ab": 4, "<0x0A>": 5}, "merges": ["a b"]},
    normalizer={"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "\u2581"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}, {"type": "NFC"}]},
    post_processor={"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"</s>": {"id": "</s>", "ids": [0], "tokens": ["</s>"]}}}))
put("tokenizer", "unigram", tokenizer(
    {"type": "Unigram", "unk_id": 1, "byte_fallback": False, "vocab": [["</s>", 0.0], ["<unk>", 0.0], ["a", -1.5], ["b", -2.5], ["ab", -0.5]]},
    pre_tokenizer={"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}))
put("tokenizer", "wordpiece", tokenizer(
    {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": {"</s>": 0, "<unk>": 1, "a": 2, "##b": 3}},
    normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
    pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Split", "pattern": {"Regex": "\\s+(?!\\S)|\\d{1,3}"}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}))
special = json.loads((MODELS / "tiny-llama/tokenizer_config.json").read_text())
special.pop("added_tokens_decoder", None)
put("tokenizer_config", "real", text(special))
put("tokenizer_config", "named", text({"eos_token": {"content": "</s>", "lstrip": False}, "chat_template": [
    {"name": "default", "template": "{% for m in messages %}{{ m.role }}: {{ m.content }}{{ eos_token }}{% endfor %}"}, {"name": "tools", "template": "x"}]}))
put("chat_template", "real", (MODELS / "tiny-llama/chat_template.jinja").read_bytes())
put("chat_template", "chatml", b"{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
put("chat_template", "thinking", b"""{%- set ns = namespace(last=-1) -%}{% for m in messages %}{% if m['role'] == 'system' and not loop.first %}
{{ raise_exception('System role must come first') }}{% endif %}{%- if m.role == 'assistant' and loop.last -%}<think></think>{% endif %}
{% generation %}{{ m['content'].split('</think>')[-1].lstrip('\\n') | trim }}{% endgeneration %}{{ eos_token }}{% endfor %}{{ strftime_now('%d %b %Y') }}{{ {'a': [1, "<"]} | tojson(indent=2) }}""")

# Requests to a server: commands of Flight SQL as protobuf, plain ones as JSON, paths and headers.
def field(number, data):
    return bytes([number << 3 | 2, len(data)]) + data


def packed(kind, message):
    return field(1, b"type.googleapis.com/arrow.flight.protocol.sql." + kind) + field(2, message)


put("request", "statement", packed(b"CommandStatementQuery", field(1, b"SELECT 1")))
put("request", "tables", packed(b"CommandGetTables", field(1, b"store") + field(2, b"%") + field(4, b"TABLE") + b"\x28\x01"))
put("request", "info", packed(b"CommandGetSqlInfo", b"\x0a\x03\x00\x01\xf8"))
put("request", "keys", packed(b"CommandGetCrossReference", field(3, b"pool") + field(6, b"target")))
put("request", "ticket", packed(b"TicketStatementQuery", field(1, bytes(40))))
put("request", "update", packed(b"CommandStatementUpdate", field(1, b"DELETE FROM pool")))
put("request", "handle", b"\x08\x03\x11" + bytes(8) + field(3, field(1, b"SELECT $1") + field(2, b"\xff\xff\xff\xff")))
put("request", "descriptor", b"\x08\x02" + field(2, b'{"dataset": "pool"}'))
put("request", "dataset", b'{"dataset": "pool", "rows": [0, 10]}')
put("request", "vectors", b'{"vectors": {"dataset": "pool", "feature": 3, "rows": [0, 18446744073709551615], "type": "f32"}}')
put("request", "influence", b'{"influence": {"pool": "pool", "target": ["a", "b"], "k": 3, "distinct": 0.9, "explain": true}}')
put("request", "sql", b'{"sql": "SELECT $1, $2", "parameters": [1.5, null, [1, 2], "\\u00e9"]}')
put("request", "path", b"vectors/pool/grad-adam@checkpoint-112")
put("request", "basic", b"Basic bWU6Z3N0X2FiYw==")

# Samples and a config file.
put("samples", "messages", b'{"id": "a1", "messages": [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}], "n": 1, "tags": ["x"]}\n\n'
    b'{"messages": [{"role": "system", "content": ""}, {"role": "assistant", "content": "\\u00e9\\ud83d\\ude00"}], "n": 2.5, "ok": true}\r\n')
put("samples", "others", b'\xef\xbb\xbf{"prompt": "a", "completion": "b", "id": 7, "big": 18446744073709551615}\n{"text": "all of it", "meta": {"a": {"b": null}}, "big": -1}')
put("config", "full", b'store = "my.gstore"\n\n[ingest]\nmodel = "llama"\ncheckpoints = ["run/checkpoint-*"]\nfeatures = ["grad-adam", "loss"]\ndim = 64\n\n[select]\ntop = "5%"\n')
put("config", "values", b'[ingest]\nmodel = \'m\'\nseed = 0x10\nbatch-tokens = 1_000\ndataset = """\na"""\ndry-run = true\n')


# Uploads: the command, then for each message its header and its body, with four bytes in between. Needs pyarrow.
def upload(name, command, table, cut=None, **options):
    out = pa.BufferOutputStream()
    with pa.ipc.new_stream(out, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        for batch in table.to_batches(max_chunksize=3):
            writer.write_batch(batch)
    parts = [text({"put": command})]
    for message in pa.ipc.MessageReader.open_stream(pa.py_buffer(out.getvalue())):
        header, body = message.metadata.to_pybytes(), message.body.to_pybytes() if message.body else b""
        parts += [header, body[:cut]]
    put("upload", name, b"\xf1\xf2\xf3\xf4".join(parts))


try:
    import pyarrow as pa
except ImportError:
    raise SystemExit("without pyarrow, no uploads")
ids, rows = [f"n{i}" for i in range(5)], pa.array(range(5), pa.uint64())
lists = lambda ty, dim: pa.FixedSizeListArray.from_arrays(pa.array([0.5] * 5 * dim, ty), dim)
samples, vectors = {"samples": {"dataset": "d"}, "key": "k"}, {"vectors": {"dataset": "d", "kind": "embed-x"}}
losses = {"losses": {"dataset": "d"}}
message = pa.struct([("role", pa.string()), ("content", pa.string())])
chats = pa.array([[{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]] * 5, pa.list_(message))
plain = pa.table({"id": ids, "text": ["a text"] * 4 + [None], "n": pa.array([1, 2, None, 4, 5], pa.int32())})
upload("samples", samples, plain)
upload("samples-chat", samples, pa.table({"messages": chats, "year": pa.array([1] * 5, pa.date32())}))
upload("samples-dictionary", samples, pa.table({"text": pa.array(ids).dictionary_encode(), "tag": pa.array(["x"] * 5).dictionary_encode()}))
upload("samples-views", samples, pa.table({"text": pa.array(["a text of more than twelve bytes"] * 5, pa.string_view())}))
upload("vectors-rows", vectors, pa.table({"row": rows, "vector": lists(pa.float32(), 3), "flags": pa.array([0, 1, 2, 3, 4], pa.uint8())}))
upload("vectors-ids", vectors, pa.table({"id": ids, "vector": lists(pa.float16(), 2)}))
upload("vectors-views", vectors, pa.table({"id": pa.array(["an id of more than twelve bytes"] * 5, pa.string_view()), "vector": lists(pa.float32(), 1)}))
upload("losses", losses, pa.table({"row": pa.array(range(5), pa.int8()), "loss": pa.array([1.5] * 5, pa.float64())}))
upload("bad-cut", samples, plain, cut=8)
upload("bad-compressed", samples, pa.table({"text": ["x" * 300] * 5}), compression="zstd")
