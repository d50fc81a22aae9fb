"""Makes the two models that the engine tests serve, from nothing and with no download.

    python train.py chat FOLDER     a Llama of 0.1 million parameters that can hold a (dull) conversation
    python train.py rerank FOLDER   a BERT cross-encoder with random weights

The chat model is trained for half a minute on made-up dialogues about a railway, so that it does what a test needs of
a chat model and no more: it ends its turns, answers a greeting with a sentence, calls `get_weather` when that
tool is offered and the weather is asked for, and answers after the tool's result. Which sentence it says, and
which city it names, depends on the machine that trained it: no test may expect particular words.
"""

import json
import os
import random
import sys
import time

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

CONTEXT = 131072
"""Tokens. Coding agents send prompts of 15,000 and more."""
PAD, TURN, END, CALL, CALL_END = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>"
STEPS, BATCH = 800, 16

# ChatML. Offered tools are named in a system turn of their own; a call is written the way vLLM's `hermes` parser
# reads it.
TEMPLATE = """
{%- if tools -%}
{{- '<|im_start|>system\nTools:' -}}
{%- for tool in tools -%}{{- ' ' + (tool.function or tool).name -}}{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endif -%}
{%- for message in messages -%}
{{- '<|im_start|>' + message.role + '\n' + (message.content or '') -}}
{%- for call in message.tool_calls or [] -%}
{{- '<tool_call>' + ({'name': call.function.name, 'arguments': call.function.arguments} | tojson) -}}
{{- '</tool_call>' -}}
{%- endfor -%}
{{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}
"""

TRAINS = ["the night train", "the express", "a freight train", "the local", "the first tram", "a steam engine"]
ACTS = ["leaves from", "arrives at", "waits at", "passes", "turns back at"]
PLACES = ["platform two", "platform nine", "the junction", "the harbour", "the old depot", "the summit tunnel"]
TIMES = ["at noon", "before dawn", "in the rain", "on time", "a minute late", "every Sunday"]
CITIES = ["Turin", "Bern", "Porto", "Ghent", "Malmo", "Leeds", "Nantes", "Trieste"]
SKIES = ["sunny", "cloudy", "raining", "snowing", "windy"]
GREETINGS = ["Hello", "Hi", "Hello there!", "Good morning.", "Reply with exactly ok.", "What is a train?"]
REQUESTS = ["Say one sentence.", "Tell me about {}.", "Where is {}?", "Write a line about {}.", "What does {} do?"]
WEATHER = [
    "What is the weather in {}?",
    "Weather in {}?",
    "How is the weather in {} today?",
    "Is it raining in {}?",
]
OTHER_TOOLS = ["get_time", "read_file", "shell", "search", "book_seat", "update_plan", "apply_patch"]


def turn(role, text):
    return f"{TURN}{role}\n{text}{END}\n"


def sentence(rng):
    words = " ".join(rng.choice(choices) for choices in (TRAINS, ACTS, PLACES, TIMES))
    return words[0].upper() + words[1:] + "."


def small_talk(rng):
    question = rng.choice(GREETINGS + REQUESTS).format(rng.choice(TRAINS))
    return turn("user", question) + turn("assistant", sentence(rng))


def noise(rng, longest=200):
    """Text nobody has written: keeps the model on its feet behind the long prompts of agents."""
    letters = "abcdefghijklmnopqrstuvwxyz     ,.:-\n0123456789{}\"'/_*#ABCDEFGH<>"
    return "".join(rng.choice(letters) for _ in range(rng.randrange(20, longest)))


def system(rng):
    """What may stand before a conversation: nothing, a line, a long prompt, a long prompt in two turns."""
    said = rng.choice(["", "", "", "You are helpful.", "You are helpful.", noise(rng, 200), noise(rng, 200)])
    if rng.random() < 0.02:
        said = noise(rng, 1500)
    before = turn("system", said) if said else ""
    return before + (turn("user", noise(rng)) if rng.random() < 0.1 else "")


def tool_names(rng):
    """A line of tools as the template writes it; agents offer dozens."""
    known = rng.sample(OTHER_TOOLS, rng.randrange(0, 4))
    made_up = ["".join(rng.choice("abcdefghilmnoprstuw_") for _ in range(rng.randrange(4, 14))) for _ in range(25)]
    names = known + made_up[: rng.choice([0, 0, 0, 0, 5, 5, 25])]
    rng.shuffle(names)
    return names


def conversation(rng):
    return system(rng) + "".join(small_talk(rng) for _ in range(rng.choice([1, 1, 2])))


def tool_conversation(rng):
    """Whoever asks for the weather gets a call. What was said last decides, not what stands far above it: that is
    what a model of this size can keep up over thousands of tokens."""
    weather = rng.random() < 0.6
    names = tool_names(rng)
    if weather or rng.random() < 0.5:
        names.insert(rng.randrange(len(names) + 1), "get_weather")
    text = turn("system", "Tools:" + "".join(" " + name for name in names)) + system(rng)
    if not weather:
        return text + small_talk(rng)
    city = rng.choice(CITIES)
    call = json.dumps({"name": "get_weather", "arguments": {"city": city}})
    text += turn("user", rng.choice(WEATHER).format(city)) + turn("assistant", CALL + call + CALL_END)
    if rng.random() < 0.5:
        sky = rng.choice(SKIES)
        text += turn("tool", sky) + turn("assistant", f"It is {sky} in {city}.")
    return text


def chat_tokenizer(corpus):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=512,
        special_tokens=[PAD, TURN, END, CALL, CALL_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, model_max_length=CONTEXT)
    fast.chat_template = TEMPLATE.strip()
    return fast


def lesson(tokenizer, dialogue):
    """Token ids, and which of them are to be learnt: what the assistant says, up to the end of its turn."""
    ids, learnt = [], []
    for part in dialogue.split(TURN)[1:]:
        role, _, said = part.partition("\n")
        head = tokenizer(f"{TURN}{role}\n")["input_ids"]
        tail = tokenizer(said)["input_ids"]
        ids += head + tail
        learnt += [False] * len(head) + [role == "assistant"] * len(tail)
    return ids, learnt


def train(model, lessons, rng):
    """Next-token training on whole dialogues; batches hold dialogues of similar length."""
    lessons = sorted(lessons, key=lambda one: len(one[0]))
    peak, decay_from = 3e-3, 0.6
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak)
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1.0, (1 - step / STEPS) / (1 - decay_from))
        start = rng.randrange(len(lessons) - BATCH)
        batch = lessons[start : start + BATCH]
        width = max(len(ids) for ids, _ in batch)
        inputs = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
        wanted = torch.tensor([learnt + [False] * (width - len(learnt)) for _, learnt in batch])
        loss = model(input_ids=inputs, labels=inputs.masked_fill(~wanted, -100)).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return loss.item()


def faults(model, tokenizer):
    """What the trained model cannot do although the tests need it: empty when it is good enough."""
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {}}}
    found = []

    def reply(messages, tools=None):
        prompt = tokenizer.apply_chat_template(
            messages, tools=tools, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        with torch.no_grad():
            ids = model.generate(**prompt, max_new_tokens=80, do_sample=False)[0, prompt["input_ids"].shape[1] :]
        return tokenizer.decode(ids)

    for question in ["Hello", "Reply with exactly ok.", "Say one sentence."]:
        text = reply([{"role": "user", "content": question}])
        if END not in text or len(text) < 8 or CALL in text:
            found.append(f"{question!r} was answered with {text!r}")
    ask = [{"role": "user", "content": "What is the weather in Turin?"}]
    text = reply(ask, [tool])
    if not text.startswith(CALL + '{"name": "get_weather", "arguments": {"city": "') or CALL_END not in text:
        found.append(f"get_weather was not called: {text!r}")
    call = {"id": "1", "type": "function", "function": {"name": "get_weather", "arguments": {"city": "Turin"}}}
    ask += [{"role": "assistant", "content": "", "tool_calls": [call]}, {"role": "tool", "content": "sunny"}]
    text = reply(ask, [tool])
    if END not in text or CALL in text:
        found.append(f"a tool's result was answered with {text!r}")
    rules = "Follow the rules of the house. Read each file before you edit it.\n" * 150
    agent = [{"role": "system", "content": rules}, {"role": "user", "content": "<cwd>/home/me</cwd>\n" * 20}]
    offered = [
        {"type": "function", "function": {"name": name}} for name in [*OTHER_TOOLS, "web_fetch", "todo", "spawn"]
    ]
    for tools in (None, offered):
        text = reply([*agent, {"role": "user", "content": "Hello"}], tools)
        if END not in text or len(text) < 8 or CALL in text:
            found.append(f"after a long prompt, Hello was answered with {text!r}")
    return found


def make_chat(folder):
    for seed in range(1, 5):
        began = time.monotonic()
        rng = random.Random(seed)
        torch.manual_seed(seed)
        corpus = [(tool_conversation if i % 2 else conversation)(rng) for i in range(4000)]
        tokenizer = chat_tokenizer(corpus)
        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=512,
                hidden_size=64,
                intermediate_size=128,
                num_hidden_layers=2,
                num_attention_heads=2,
                num_key_value_heads=2,
                head_dim=32,  # vLLM's CPU attention takes multiples of 32
                max_position_embeddings=CONTEXT,
                rope_theta=1_000_000.0,
                bos_token_id=None,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
                tie_word_embeddings=True,
                dtype="float32",
            )
        )
        loss = train(model, [lesson(tokenizer, text) for text in corpus], rng)
        model.eval()
        found = faults(model, tokenizer)
        print(f"chat, seed {seed}: loss {loss:.3f} in {time.monotonic() - began:.0f} s", *found, sep="\n  ")
        if not found:
            model.generation_config = GenerationConfig(
                eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id
            )
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return
    sys.exit("train.py: no seed made a model that the tests can use; see what each could not do above")


def make_rerank(folder):
    torch.manual_seed(1)
    signs = [chr(code) for code in range(33, 127)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *signs, *("##" + sign for sign in signs)]
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words.index("[CLS]")), ("[SEP]", words.index("[SEP]"))],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        model_max_length=512,
    )
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(words),
            hidden_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=128,
            num_labels=1,
            max_position_embeddings=512,
            initializer_range=0.3,  # wide, so that scores of different pairs differ visibly
        )
    )
    model.save_pretrained(folder)
    fast.save_pretrained(folder)


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("chat", "rerank"):
        sys.exit("usage: train.py chat|rerank FOLDER")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    {"chat": make_chat, "rerank": make_rerank}[sys.argv[1]](sys.argv[2])
