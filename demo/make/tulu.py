"""Token ids and labels of a conversation, as LESS has them.

Labels are -100 outside assistant turns; the assistant's text, its end token and the newline after that are scored.
Where a scored part begins and ends comes from counting the tokens of the text before it.
"""

import json


def rendered(messages, upto, header=False):
    text = ""
    for message in messages[:upto]:
        end = "</s>" if message["role"] == "assistant" else ""
        text += f"<|{message['role']}|>\n{message['content'].strip()}{end}\n"
    return text + ("<|assistant|>\n" if header else "")


def encode(tokenizer, messages, max_length=2048):
    """`tokenizer`: a `tokenizers.Tokenizer`. Returns (ids, labels), cut at `max_length`."""

    def tokens(text):
        return tokenizer.encode(text, add_special_tokens=False).ids

    ids = tokens(rendered(messages, len(messages)))
    labels = [-100] * len(ids)
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            start = len(tokens(rendered(messages, n, header=True)))
            end = len(tokens(rendered(messages, n + 1)))
            labels[start:end] = ids[start:end]
    return ids[:max_length], labels[:max_length]


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
