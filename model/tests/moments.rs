//! Promise: optimizer moments of either keying are read exactly or refused, trainer logs give the epoch's
//! steps, and no pickle is executed.

use std::path::PathBuf;

use crate::common::archive::{self, Obj, dict, tensor, text};
use crate::common::assert_says;
use crate::common::optimizer::{index_keyed, name_keyed, specs, state};
use crate::common::tiny::{noise, write_json};
use gstore_model::params::{TensorSpec, total_len};
use gstore_model::weights::{
    AdamConstants, Moments, MomentsError, MomentsFile, MomentumFile, SavedOptimizer, TorchArchive,
    TrainedTensor, TrainerState, peak_rate, trainer_folder,
};
use serde_json::json;
use tempfile::TempDir;

fn open(folder: &TempDir, root: &Obj) -> Result<MomentsFile, MomentsError> {
    let path = folder.path().join("optimizer.pt");
    archive::write(&path, root);
    MomentsFile::open(&path, specs().into_iter().map(TrainedTensor::factor).collect(), |_| true)
}

fn load(folder: &TempDir, root: &Obj) -> Result<Moments, String> {
    open(folder, root).and_then(|file| file.load(true)).map_err(|e| e.to_string())
}

#[test]
fn both_keyings_of_the_optimizer_state_agree() {
    let folder = TempDir::new().unwrap();
    let states = || specs().iter().enumerate().map(|(i, s)| state(s, i as u64 * 10)).collect::<Vec<_>>();
    let digest = |root: &Obj| open(&folder, root).unwrap().digest().unwrap();
    let by_index = load(&folder, &index_keyed(states())).unwrap();
    let digest_by_index = digest(&index_keyed(states()));
    let other = index_keyed(vec![state(&specs()[0], 0), state(&specs()[1], 11)]);
    assert_ne!(digest(&other), digest_by_index);
    assert_eq!(by_index.exp_avg.len(), total_len(&specs()));
    assert_eq!(by_index.exp_avg[..10], noise(0, 10, 1.0));
    assert_eq!(by_index.step, Some(112));
    for (prefix, infix) in [
        ("", ""),
        ("base_model.model.", ".default"),
        ("module.base_model.model.", ""),
        ("_fsdp_wrapped_module.base_model.model.", ".default"),
    ] {
        let by_name = load(&folder, &name_keyed(prefix, infix)).unwrap();
        assert_eq!(by_name, by_index);
        assert_eq!(digest(&name_keyed(prefix, infix)), digest_by_index);
    }
    assert!(Moments::find(folder.path()).unwrap().ends_with("optimizer.pt"));
    assert_eq!(peak_rate(folder.path()).unwrap(), None, "a state without groups has no peak");
    archive::write(&folder.path().join("optimizer.pt"), &index_keyed(states()));
    assert_eq!(peak_rate(folder.path()).unwrap(), Some(2e-3));
}

/// A state whose groups name their parameters, as of an optimizer that was given `named_parameters()`.
fn with_names(states: Vec<Obj>, names: &[&str]) -> Obj {
    let numbers = (0..names.len() as i32).map(Obj::Int).collect();
    let names = Obj::List(names.iter().map(|name| text(name)).collect());
    let group = dict([("param_names", names), ("params", Obj::List(numbers))]);
    let mut root = index_keyed(states);
    if let Obj::Dict(entries) = &mut root {
        entries[1].1 = Obj::List(vec![group]);
    }
    root
}

#[test]
fn numbered_states_are_found_by_the_names_that_groups_give() {
    let folder = TempDir::new().unwrap();
    let [q, k] = ["q_proj", "k_proj"].map(|map| format!("model.layers.0.self_attn.{map}.lora_A.weight"));
    let spec = |name: &str| TensorSpec { name: name.to_owned(), shape: vec![2, 5] };
    let trained = [spec(&q), spec(&k)];
    let read = |root: &Obj| {
        let path = folder.path().join("optimizer.pt");
        archive::write(&path, root);
        Moments::load(&path, &trained).map_err(|e| e.to_string())
    };
    let states = || vec![state(&trained[0], 0), state(&trained[1], 10)];
    let backward = || states().into_iter().rev().collect::<Vec<_>>();
    let due = read(&index_keyed(states())).unwrap();
    // Shapes alone cannot tell.
    assert_ne!(read(&index_keyed(backward())).unwrap(), due);
    for (prefix, infix) in [("", ""), ("base_model.model.", ".default"), ("module._orig_mod.", "")] {
        let wrapped = |name: &str| format!("{prefix}{}", name.replace(".weight", &format!("{infix}.weight")));
        let (q, k) = (wrapped(&q), wrapped(&k));
        assert_eq!(read(&with_names(states(), &[&q, &k])).unwrap(), due);
        assert_eq!(read(&with_names(backward(), &[&k, &q])).unwrap(), due);
        // A frozen one has a number and a name, and no state.
        assert_eq!(read(&with_names(backward(), &[&k, &q, "lm_head.weight"])).unwrap(), due);
    }
    for (names, parts) in [
        (vec![&*q, "other.weight"], ["do not fit", "none for", k.as_str(), "some for other.weight"]),
        (vec![&*q, &*q], ["do not fit", "names", q.as_str(), "twice"]),
    ] {
        assert_says(&read(&with_names(states(), &names)).unwrap_err(), &parts);
    }
    let params = Obj::List(vec![Obj::Int(0), Obj::Int(1)]);
    let group = dict([("param_names", Obj::List(vec![text(&q)])), ("params", params)]);
    let few = dict([
        ("state", Obj::Dict(vec![(Obj::Int(0), state(&trained[0], 0))])),
        ("param_groups", Obj::List(vec![group])),
    ]);
    assert_says(&read(&few).unwrap_err(), &["not an optimizer state", "param_names"]);
}

#[test]
fn constants_of_adam_are_those_of_the_groups_that_say_them() {
    let folder = TempDir::new().unwrap();
    let mut root = index_keyed(specs().iter().map(|spec| state(spec, 1)).collect());
    assert!(open(&folder, &root).unwrap().constants().is_empty());
    let params = Obj::List(vec![Obj::Int(0), Obj::Int(1)]);
    let betas = Obj::List(vec![Obj::Float(0.5), Obj::Float(0.9)]);
    let adam = dict([("betas", betas), ("eps", Obj::Float(1e-6)), ("params", params)]);
    let other = dict([("eps", Obj::Float(1e-30)), ("params", Obj::List(Vec::new()))]);
    if let Obj::Dict(entries) = &mut root {
        entries[1].1 = Obj::List(vec![adam, other]);
    }
    let file = open(&folder, &root).unwrap();
    assert_eq!((file.group_values("eps"), file.group_values("lr")), (vec![1e-6, 1e-30], Vec::new()));
    let found = file.constants();
    assert_eq!(found, [AdamConstants { betas: [0.5, 0.9], eps: 1e-6, amsgrad: false }]);
    assert_eq!(found[0].to_string(), "betas 0.5 and 0.9, eps 1e-6");
    assert!(!file.is_amsgrad());
    // A group may say it, and a tensor may have its maximum.
    let with_maximum = |root: &Obj| {
        let file = open(&folder, root).unwrap();
        assert!(file.is_amsgrad());
        assert_says(&file.constants()[0].to_string(), &["betas 0.5 and 0.9, eps 1e-6, and", "AMSGrad"]);
    };
    let mut kept = root.clone();
    if let Obj::Dict(entries) = &mut kept
        && let Obj::Dict(states) = &mut entries[0].1
        && let Obj::Dict(state) = &mut states[0].1
    {
        state.push((text("max_exp_avg_sq"), tensor(&[2, 5], vec![1.0; 10])));
    }
    with_maximum(&kept);
    if let Obj::Dict(entries) = &mut root
        && let Obj::List(groups) = &mut entries[1].1
        && let Obj::Dict(group) = &mut groups[0]
    {
        group.push((text("amsgrad"), Obj::Raw(vec![0x88])));
        group.push((text("maximize"), Obj::Raw(vec![0x88])));
    }
    with_maximum(&root);
    assert!(!file.is_maximizing() && open(&folder, &root).unwrap().is_maximizing());
}

#[test]
fn a_state_tells_its_optimizer_by_what_it_keeps_or_by_its_groups() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("optimizer.pt");
    let values = || tensor(&[2], vec![1.0; 2]);
    let sgd = |momentum| dict([("momentum", Obj::Float(momentum)), ("nesterov", Obj::None)]);
    let none = || Obj::Dict(Vec::new());
    let adam = dict([("exp_avg", values()), ("exp_avg_sq", values())]);
    let rms = dict([("exp_avg", values()), ("exp_avg_sq", values()), ("RMS", Obj::Float(1.0))]);
    let momentum = || dict([("momentum_buffer", values())]);
    let rms_prop = dict([("momentum_buffer", values()), ("square_avg", values())]);
    let without = dict([("momentum_buffer", Obj::None)]);
    for (kept, group, expected) in [
        (Some(adam), none(), Some(SavedOptimizer::AdamW)),
        (Some(rms), none(), Some(SavedOptimizer::Other)),
        (Some(momentum()), sgd(0.9), Some(SavedOptimizer::MomentumSgd)),
        (Some(momentum()), none(), Some(SavedOptimizer::MomentumSgd)),
        (Some(rms_prop), none(), Some(SavedOptimizer::Other)),
        (Some(dict([("exp_avg", values())])), none(), Some(SavedOptimizer::Other)),
        (Some(without), sgd(0.0), Some(SavedOptimizer::PlainSgd)),
        (None, sgd(0.0), Some(SavedOptimizer::PlainSgd)),
        // One that took no step.
        (None, sgd(0.9), None),
        (None, none(), None),
    ] {
        let kept = kept.into_iter().map(|kept| (Obj::Int(0), kept)).collect();
        archive::write(&path, &dict([("state", Obj::Dict(kept)), ("param_groups", Obj::List(vec![group]))]));
        assert_eq!(SavedOptimizer::of(&TorchArchive::open(&path).unwrap()), expected);
    }
}

#[test]
fn momentum_is_finite() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("optimizer.pt");
    let read = |value: f32| {
        let kept = |spec: &TensorSpec| {
            dict([("momentum_buffer", tensor(&spec.shape, vec![value; spec.shape.iter().product()]))])
        };
        archive::write(&path, &index_keyed(specs().iter().map(kept).collect()));
        let trained = specs().iter().cloned().map(TrainedTensor::factor).collect();
        MomentumFile::of(TorchArchive::open(&path).unwrap(), trained).unwrap().read()
    };
    assert_eq!(read(-0.5).unwrap()[0], [-0.5; 10]);
    for value in [f32::NAN, f32::INFINITY] {
        assert_says(&read(value).unwrap_err().to_string(), &["momentum_buffer of model.layers.0", "holds"]);
    }
}

#[test]
fn strided_moments_are_read_in_order() {
    let folder = TempDir::new().unwrap();
    let transposed = Obj::Tensor(vec![2, 5], vec![1, 2], 1, (0..11).map(|v| v as f32).collect());
    let first = dict([("exp_avg", transposed.clone()), ("exp_avg_sq", transposed)]);
    let moments = load(&folder, &index_keyed(vec![first, state(&specs()[1], 1)])).unwrap();
    assert_eq!(moments.exp_avg[..10], [1.0, 3.0, 5.0, 7.0, 9.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
    assert_eq!(moments.step, None);
}

#[test]
fn moments_that_do_not_fit_are_refused() {
    let folder = TempDir::new().unwrap();
    let good = |i: usize| state(&specs()[i], 1);
    let with = |moment: &str, obj: Obj| match good(0) {
        Obj::Dict(entries) => Obj::Dict(
            entries
                .into_iter()
                .map(
                    |(k, v)| if matches!(&k, Obj::Str(s) if s == moment) { (k, obj.clone()) } else { (k, v) },
                )
                .collect(),
        ),
        other => other,
    };
    let cases: Vec<(Obj, &[&str])> = vec![
        (index_keyed(vec![good(0)]), &["do not fit", "1 parameters", "2 tensors"]),
        (index_keyed(vec![good(1), good(0)]), &["do not fit", "q_proj.lora_A", "[3, 2]", "[2, 5]"]),
        (index_keyed(vec![dict([("momentum_buffer", Obj::None)]), good(1)]), &["no exp_avg", "Adam"]),
        (
            index_keyed(vec![with("exp_avg_sq", tensor(&[2, 5], vec![-1.0; 10])), good(1)]),
            &["exp_avg_sq", "holds -1"],
        ),
        (
            index_keyed(vec![with("exp_avg", tensor(&[2, 5], vec![f32::NAN; 10])), good(1)]),
            &["exp_avg", "NaN"],
        ),
        (
            index_keyed(vec![with("exp_avg", Obj::Tensor(vec![2, 5], vec![0, 0], 0, vec![1.0])), good(1)]),
            &[
                "optimizer.pt: a tensor of shape [2, 5] repeats values of its storage, which has 1, ",
                ".contiguous()",
            ],
        ),
        (
            index_keyed(vec![
                with("exp_avg", Obj::Tensor(vec![2, 5], vec![5, 1], 3, vec![1.0; 10])),
                good(1),
            ]),
            &["offset 3"],
        ),
        (
            index_keyed(vec![with("exp_avg", Obj::Codes("CharStorage", 10)), good(1)]),
            &["exp_avg of model.layers.0.self_attn.q_proj.lora_A.weight has dtype int8", "adamw_torch"],
        ),
        (
            index_keyed(vec![good(0), dict([("exp_avg_sq", Obj::Codes("ByteStorage", 6))])]),
            &["exp_avg_sq of", "lora_B.weight has dtype uint8", "quantised"],
        ),
        (dict([("state", Obj::Dict(vec![]))]), &["no step", "SGD without momentum"]),
        (dict([("weights", Obj::None)]), &["no key \"state\""]),
        (Obj::List(vec![]), &["no key \"state\""]),
        (dict([("state", Obj::Dict(vec![(Obj::None, Obj::None)]))]), &["neither numbers nor names"]),
        (dict([("state", Obj::Dict(vec![(text("lm_head.weight"), good(0))]))]), &["none for model.layers.0"]),
    ];
    for (root, parts) in cases {
        assert_says(&load(&folder, &root).unwrap_err(), parts);
    }
    let mut extra = name_keyed("", "");
    if let Obj::Dict(root) = &mut extra
        && let Obj::Dict(states) = &mut root[0].1
    {
        states.push((text("lm_head.weight"), good(0)));
    }
    assert_says(&load(&folder, &extra).unwrap_err(), &["lm_head.weight", "lacks"]);
    let none = Moments::find(&folder.path().join("nowhere")).unwrap_err().to_string();
    assert_says(&none, &["neither optimizer.pt nor optimizer.bin"]);
}

#[test]
fn states_of_quantised_optimizers_are_told_with_what_to_do_about_them() {
    let folder = TempDir::new().unwrap();
    let codes = || Obj::Codes("ByteStorage", 10);
    for entries in [
        dict([("state1", codes()), ("state2", codes())]),
        dict([("state1", tensor(&[2, 5], vec![1.0; 10])), ("state2", tensor(&[2, 5], vec![1.0; 10]))]),
        dict([("__bnb_optimizer_quant_state__", dict([("state1", codes()), ("absmax1", codes())]))]),
    ] {
        let told = load(&folder, &index_keyed(vec![entries, state(&specs()[1], 1)])).unwrap_err();
        assert_says(&told, &["q_proj.lora_A.weight has a state of bitsandbytes", "adamw_torch", "grad-sgd"]);
    }
    let subclass = Obj::Raw(b"ctorch._tensor\n_rebuild_from_type_v2\n".to_vec());
    let told = load(&folder, &index_keyed(vec![subclass, state(&specs()[1], 1)])).unwrap_err();
    assert_says(
        &told,
        &["optimizer.pt: the pickle has a tensor of a subclass", "_rebuild_from_type_v2", "torchao"],
    );
    // As torch saves a tensor of a type that has no class of storages.
    for dtype in ["float8_e4m3fn", "float8_e5m2", "uint16"] {
        let mut float8 = b"ctorch._utils\n_rebuild_tensor_v3\n((".to_vec();
        float8.extend(b"X\x07\0\0\0storagectorch.storage\nUntypedStorage\nX\x01\0\0\0aX\x03\0\0\0cpuK\x0atQ");
        float8.extend(b"K\0(K\x02K\x05t(K\x05K\x01t\x89ccollections\nOrderedDict\n)R");
        float8.extend(format!("ctorch\n{dtype}\ntR").bytes());
        let entry = dict([("exp_avg", Obj::Raw(float8))]);
        let told = load(&folder, &index_keyed(vec![entry, state(&specs()[1], 1)])).unwrap_err();
        let says = format!("optimizer.pt: the pickle has a tensor of dtype {dtype}, ");
        assert_says(&told, &[&*says, "adamw_torch"]);
    }
}

#[test]
fn states_in_parts_are_told_with_what_to_do_about_them() {
    for (parts, words) in [
        ("global_step6", ["global_step6 has the state of DeepSpeed in parts", "grad-sgd"]),
        ("optimizer_0", ["optimizer_0 has the state of FSDP in parts", "FULL_STATE_DICT"]),
    ] {
        let folder = TempDir::new().unwrap();
        fs_err::create_dir(folder.path().join(parts)).unwrap();
        fs_err::create_dir(folder.path().join("tokenizer")).unwrap();
        let told = Moments::find(folder.path()).unwrap_err().to_string();
        assert_says(&told, &["neither optimizer.pt nor optimizer.bin", words[0], words[1]]);
    }
}

#[test]
fn an_adapter_in_a_subfolder_has_the_state_of_the_folder_above_unless_that_may_be_of_other_weights() {
    let folder = TempDir::new().unwrap();
    let (run, adapter) = (folder.path(), folder.path().join("policy"));
    let write = |path: PathBuf| {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, "{}").unwrap();
    };
    write(adapter.join("adapter_config.json"));
    let refused = || Moments::find_of_adapter(&adapter).unwrap_err().to_string();
    let neither = format!("optimizer.bin, and neither has {}", run.display());
    assert_says(&refused(), &["policy has neither", &*neither]);
    fs_err::create_dir(run.join("global_step6")).unwrap();
    assert_says(&refused(), &[&*neither, "global_step6 has the state of DeepSpeed in parts"]);

    let state = run.join("optimizer.pt");
    write(state.clone());
    assert_eq!(Moments::find_of_adapter(&adapter).unwrap(), state);
    assert_eq!(trainer_folder(&adapter), adapter);
    write(run.join("trainer_state.json"));
    assert_eq!(trainer_folder(&adapter), run);
    for other in
        ["reference/adapter_config.json", "adapter_config.json", "config.json", "checkpoint-3/README"]
    {
        let other = run.join(other);
        write(other.clone());
        assert_says(&refused(), &["optimizer.bin; ", "optimizer.pt may be of other weights", "grad-sgd"]);
        assert_eq!(trainer_folder(&adapter), adapter);
        match other.parent().unwrap() {
            parent if parent == run => fs_err::remove_file(other).unwrap(),
            parent => fs_err::remove_dir_all(parent).unwrap(),
        }
    }
    let own = adapter.join("optimizer.bin");
    write(own.clone());
    assert_eq!(Moments::find_of_adapter(&adapter).unwrap(), own);
    write(adapter.join("trainer_state.json"));
    assert_eq!(trainer_folder(&adapter), adapter);
}

#[test]
fn hostile_pickles_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("optimizer.pt");
    let open = |root: &Obj| {
        archive::write(&path, root);
        TorchArchive::open(&path).map(drop).unwrap_err().to_string()
    };
    assert_says(&open(&Obj::Raw(b"cos\nsystem\n(S'true'\ntR".to_vec())), &["os.system", "does not load"]);
    assert_says(&open(&Obj::Raw(b"cbuiltins\neval\n".to_vec())), &["builtins.eval"]);
    assert_says(&open(&Obj::Raw(b"ctorch\nload\n".to_vec())), &["torch.load"]);
    assert_says(&open(&Obj::Raw(b"i__main__\nX\n".to_vec())), &["0x69", "not allowed"]);
    assert_says(&open(&Obj::Raw(b"h\x07".to_vec())), &["memo"]);
    assert_says(&open(&Obj::Raw(b"]q\x00h\x00a".to_vec())), &["nested"]);
    let deep: Vec<u8> = b"]".repeat(200).into_iter().chain(b"a".repeat(199)).collect();
    assert_says(&open(&Obj::Raw(deep)), &["nested"]);
    // Each level holds the one below ten times: 10^9 values from a hundred bytes.
    let mut bomb = b"]q\x00".to_vec();
    for level in 0..9u8 {
        bomb.extend(b"](");
        bomb.extend([b'h', level].repeat(10));
        bomb.extend([b'e', b'q', level + 1]);
    }
    assert_says(&open(&Obj::Raw(bomb)), &["values"]);
    fs_err::write(&path, b"\x80\x02}q\x00.").unwrap();
    assert_says(
        &TorchArchive::open(&path).map(drop).unwrap_err().to_string(),
        &["not a torch ZIP", "torch.save"],
    );
}

#[test]
fn trainer_states() {
    let folder = TempDir::new().unwrap();
    assert_eq!(TrainerState::read(folder.path()).unwrap(), None);
    let path = folder.path().join("trainer_state.json");
    fs_err::write(&path, b"{").unwrap();
    assert_says(&TrainerState::read(folder.path()).unwrap_err().to_string(), &["trainer_state.json"]);
    write_json(&path, &json!({"epoch": 1.0}));
    assert_says(&TrainerState::read(folder.path()).unwrap_err().to_string(), &["global_step is missing"]);
    for step in [json!(5.0), json!(-1), json!(100_000_001)] {
        write_json(&path, &json!({"global_step": step}));
        let said = format!("global_step {step} is not a whole number from 0 to 100000000");
        assert_says(&TrainerState::read(folder.path()).unwrap_err().to_string(), &[&*said]);
    }
    let epochs = |step: u64, epoch: f64| {
        write_json(&path, &json!({"global_step": step, "epoch": epoch, "log_history": []}));
        TrainerState::read(folder.path()).unwrap().unwrap().epoch_steps().unwrap()
    };
    assert_eq!(epochs(112, 2.0), (57, 112));
    // 13,533 rows in batches of 128 on four devices.
    let per_epoch = 13_533.0 / 128.0;
    assert_eq!(epochs(105, 105.0 / per_epoch), (1, 105));
    assert_eq!(epochs(211, 211.0 / per_epoch), (106, 211));
    assert_eq!(epochs(317, 317.0 / per_epoch), (212, 317));
    assert_eq!(epochs(420, 420.0 / per_epoch), (318, 420));
}

#[test]
fn a_log_says_where_an_epoch_begins() {
    let folder = TempDir::new().unwrap();
    let steps = |step: u64, epoch: f64, log: &[(u64, f64)]| {
        let log: Vec<_> =
            log.iter().map(|(step, epoch)| json!({"step": step, "epoch": epoch, "loss": 1.0})).collect();
        let state = json!({"global_step": step, "epoch": epoch, "log_history": log});
        write_json(&folder.path().join("trainer_state.json"), &state);
        TrainerState::read(folder.path()).unwrap().unwrap().epoch_steps().unwrap()
    };
    // The last step of an epoch has the batches that are left. Some parts of epochs have two places only.
    for (batches, of_step) in [(11u64, 10u64), (10, 4), (50, 16), (100, 32)] {
        let of_epoch = batches.div_ceil(of_step);
        let at = |step: u64| {
            let (whole, rest) = ((step - 1) / of_epoch, (step - 1) % of_epoch + 1);
            (step, whole as f64 + (rest * of_step).min(batches) as f64 / batches as f64)
        };
        for last in 1..=of_epoch * 5 {
            let all: Vec<_> = (1..=last).map(at).collect();
            let first = (last - 1) / of_epoch * of_epoch + 1;
            assert_eq!(steps(last, at(last).1, &all), (first, last), "{batches} by {of_step}");
        }
    }
    // Of 11 batches a step takes 10.
    let at = |step: u64| (step, ((step - 1) / 2) as f64 + if step % 2 == 1 { 10.0 / 11.0 } else { 1.0 });
    // The share alone begins a step too early; the end of the epoch before is enough.
    assert_eq!((steps(9, at(9).1, &[]), steps(9, at(9).1, &[at(3), at(8)])), ((8, 9), (9, 9)));
    // What the log leaves open is told by the share.
    assert_eq!(steps(9, at(9).1, &[at(3), at(6), at(9)]), (8, 9));
    // Rounded, as by older trainers: step 529 ends at 5.0035 epochs.
    let per_epoch = 13_533.0 / 128.0;
    let rounded: Vec<_> =
        (500..=560).map(|step| (step, (step as f64 / per_epoch * 100.0).round() / 100.0)).collect();
    assert_eq!(steps(560, 560.0 / per_epoch, &rounded), (529, 560));
    // Not rounded, it says the same.
    let exact: Vec<_> = (500..=560).map(|step| (step, step as f64 / per_epoch)).collect();
    assert_eq!(steps(560, 560.0 / per_epoch, &exact), (529, 560));
}
