"""Files of Kronfluence 1.0.1 for the tests of its formats, and a check that it reads what was written for it.

    make.py                          writes factors_mlp/, scores_mlp/ and gradients.safetensors next to this file
    make.py check FACTORS SCORES     loads the factors and scores of two folders `factors_NAME` and `scores_NAME`

Needs kronfluence 1.0.1, torch and safetensors. The task is regression with a network of two layers.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import warnings

warnings.simplefilter("ignore")

import torch
from kronfluence.analyzer import Analyzer, prepare_model
from kronfluence.arguments import FactorArguments, ScoreArguments
from kronfluence.task import Task
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
torch.compiler.reset = lambda: None  # takes a minute, and nothing here is compiled


class Regression(Task):
    def compute_train_loss(self, batch, model, sample=False):
        inputs, targets = batch
        return 0.5 * ((model(inputs) - targets) ** 2).sum()

    def compute_measurement(self, batch, model):
        return self.compute_train_loss(batch, model)


def network():
    torch.manual_seed(0)
    layers = [torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2, bias=False)]
    return torch.nn.Sequential(*layers)


def samples():
    torch.manual_seed(1)
    return torch.utils.data.TensorDataset(torch.randn(7, 3), torch.randn(7, 2))


def analyzer(folder):
    model = prepare_model(network(), Regression())
    return Analyzer("files", model, Regression(), cpu=True, output_dir=str(folder), disable_tqdm=True)


def gradients():
    """Of each sample and module, `[samples, out, inputs]` with the bias as the last column."""
    model, found = network(), {}
    for inputs, targets in samples():
        model.zero_grad()
        Regression().compute_train_loss((inputs[None], targets[None]), model).backward()
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear):
                parts = [module.weight.grad] + ([module.bias.grad[:, None]] if module.bias is not None else [])
                found.setdefault(name, []).append(torch.cat(parts, dim=1).clone())
    return {name: torch.stack(all_of).contiguous() for name, all_of in found.items()}


def fitting():
    return FactorArguments(use_empirical_fisher=True, covariance_data_partitions=2, covariance_module_partitions=2)


def scoring():
    return ScoreArguments(damping_factor=None, compute_per_module_scores=True, data_partitions=2)


def make():
    with tempfile.TemporaryDirectory() as folder:
        work, data = analyzer(folder), samples()
        work.fit_all_factors("mlp", data, per_device_batch_size=2, factor_args=fitting())
        scores = scoring()
        work.compute_pairwise_scores(
            "mlp", "mlp", data, data, 2, per_device_train_batch_size=2, query_indices=[0, 2], score_args=scores
        )
        work.compute_self_scores("mlp", "mlp", data, per_device_train_batch_size=2, score_args=scores)
        for name in ["factors_mlp", "scores_mlp"]:
            shutil.rmtree(HERE / name, ignore_errors=True)
            shutil.copytree(pathlib.Path(folder) / "files" / name, HERE / name)
    save_file(gradients(), HERE / "gradients.safetensors")


def check(factors, scores):
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(factors, pathlib.Path(folder) / "files" / "factors_given")
        shutil.copytree(scores, pathlib.Path(folder) / "files" / "scores_given")
        work, data = analyzer(folder), samples()
        found = work.load_all_factors("given")
        for name, modules in found.items():
            expected = load_file(HERE / "factors_mlp" / f"{name}.safetensors")
            assert modules.keys() == expected.keys(), name
            for key, tensor in modules.items():
                assert tensor.dtype == expected[key].dtype and torch.equal(tensor, expected[key]), (name, key)
        # Goes on with them: the arguments are those that it would have written.
        work.fit_all_factors("given", data, per_device_batch_size=2, factor_args=fitting())
        written = work.load_pairwise_scores("given")
        # Written arguments hold dtypes as texts, which it cannot compute with itself.
        assert work.load_score_args("given").to_dict() == scoring().to_dict()
        work.compute_pairwise_scores(
            "again", "given", data, data, 2, per_device_train_batch_size=2, query_indices=[0, 2], score_args=scoring()
        )
        for key, tensor in work.load_pairwise_scores("again").items():
            assert torch.allclose(tensor, written[key], rtol=1e-5, atol=1e-5), key
        print("all checked")


if sys.argv[1:2] == ["check"]:
    check(*sys.argv[2:4])
else:
    make()
sys.stdout.flush()
os._exit(0)  # its threads are not waited for
