"""Goes on from checkpoints with the Trainer of transformers, an adapter in PEFT, and prints what it logs as JSON.

The argument is a file of JSON: the base `model`, an `output` folder, `samples` of input_ids and labels in the
order of training, and `runs` by name, each a `checkpoint` with `arguments` of the Trainer; `lora` is an adapter.
"""

import json
import sys

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments

recipe = json.load(open(sys.argv[1]))


class InOrder(Trainer):
    def _get_train_sampler(self, *_):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def padded(samples):
    longest = max(len(sample["input_ids"]) for sample in samples)

    def filled(lists, value):
        return torch.tensor([list(one) + [value] * (longest - len(one)) for one in lists])

    return {
        "input_ids": filled((sample["input_ids"] for sample in samples), 0),
        "attention_mask": filled(([1] * len(sample["input_ids"]) for sample in samples), 0),
        "labels": filled((sample["labels"] for sample in samples), -100),
    }


logged = {}
for name, run in recipe["runs"].items():
    checkpoint = run["checkpoint"]
    if name == "lora":
        model = AutoModelForCausalLM.from_pretrained(recipe["model"])
        model = PeftModel.from_pretrained(model, checkpoint, is_trainable=True)
    else:
        model = AutoModelForCausalLM.from_pretrained(checkpoint)
    arguments = TrainingArguments(
        output_dir=f"{recipe['output']}/{name}",
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_steps=1,
        remove_unused_columns=False,
        **run["arguments"],
    )
    trainer = InOrder(model=model, args=arguments, train_dataset=recipe["samples"], data_collator=padded)
    trainer.train(resume_from_checkpoint=checkpoint)
    logged[name] = [line for line in trainer.state.log_history if "loss" in line]
print("logged " + json.dumps(logged))
