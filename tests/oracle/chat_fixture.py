"""Makes tests/fixtures/chat/expected.json: what transformers makes of conversations with templates of every kind.

The tokenizer is the demo's (byte-level BPE). Run: python tests/oracle/chat_fixture.py
"""

import json

from fixture import FIXTURES
from transformers import AutoTokenizer

TEMPLATES = {
    "plain": (
        "{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}{{ eos_token }}\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
    "blocks": """{%- set ns = namespace(turns=0) %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system = 'You are kind.' %}
{%- endif %}
{{- bos_token }}System: {{ system }}
{% for message in messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('roles must alternate: user, assistant') }}
    {%- endif %}
    {%- set ns.turns = ns.turns + 1 %}
{{ message.role | upper }} ({{ ns.turns }}/{{ messages | length }}): {{ message['content'] | trim }}
{% endfor %}
{%- if add_generation_prompt %}
{{- 'ASSISTANT:' }}
{%- endif %}
""",
    "tools": """{% if tools is defined and tools %}Tools:
{% for tool in tools %}
- {{ tool | tojson }}
{% endfor %}
{% endif %}
{% for message in messages %}
{% if message.tool_calls is defined %}
{{ message.role }} calls{% for call in message.tool_calls %} {{ call.function.name }}({{ call.function.arguments | tojson }}){% if not loop.last %},{% endif %}{% endfor %}

{% elif message.role == "tool" %}
result: {{ message.content }}
{% else %}
{{ message.role }}: {{ message.content }}
{% endif %}
{% endfor %}
{% if add_generation_prompt %}
assistant: {% endif %}""",
    "generation": (
        "{% for message in messages %}{% if message.role == 'assistant' %}<|assistant|>\n"
        "{% generation %}{{ message.content }}{{ eos_token }}{% endgeneration %}\n"
        "{% else %}<|{{ message.role }}|>\n{{ message.content }}\n{% endif %}{% endfor %}"
    ),
    "generation lines": """{% for message in messages %}
{% if message.role == 'assistant' %}
    {% generation %}
answer: {{ message.content }}
    {% endgeneration %}
{% else %}
{{ message.role }}: {{ message.content }}
{% endif %}
{% endfor %}
""",
    "generation dashes": """{%- for message in messages %}
{%- if message.role == 'assistant' %}
  {%- generation -%}
  {{ message.content + eos_token }}
  {%- endgeneration -%}
{%- else %}
{{- message.role + ': ' + message.content + ' ' }}
{%- endif %}
{%- endfor %}""",
}
CALL = {"type": "function", "function": {"name": "weather", "arguments": {"city": "Köln", "days": 2, "exact": True}}}
CONVERSATIONS = {
    "one": [{"role": "user", "content": "Tell me about the golden key."}],
    "three": [
        {"role": "user", "content": "Ahoy!"},
        {"role": "assistant", "content": "Ahoy, matey. 🙂 Ünder a stöne?"},
        {"role": "user", "content": "  What\n\nnow? "},
        {"role": "assistant", "content": "The captain went ashore."},
    ],
    "system": [
        {"role": "system", "content": " Speak like a pirate. "},
        {"role": "user", "content": "Hello <|endoftext|> there"},
        {"role": "assistant", "content": ""},
    ],
    "call": [
        {"role": "user", "content": "Weather?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "12 °C"},
        {"role": "assistant", "content": "Twelve degrees."},
    ],
    "order": [{"role": "assistant", "content": "I begin."}],
}
TOOLS = [{
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Gives the weather, \"quoted\" & <tagged>.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}]

folder = FIXTURES.parents[1] / "examples" / "demo" / "model"
tokenizer = AutoTokenizer.from_pretrained(folder)
cases = []
for template, source in TEMPLATES.items():
    for conversation, messages in CONVERSATIONS.items():
        for prompt in (False, True):
            for tools in (None, TOOLS):
                if tools and template not in ("tools", "plain"):
                    continue
                given = {"conversation": messages, "chat_template": source, "tools": tools, "add_generation_prompt": prompt}
                case = {"template": template, "conversation": conversation, "prompt": prompt, "tools": tools is not None}
                try:
                    case["text"] = tokenizer.apply_chat_template(**given, tokenize=False)
                except Exception as error:  # noqa: BLE001 -- whatever Jinja or the template raises
                    case["error"] = str(error)
                    cases.append(case)
                    continue
                out = tokenizer.apply_chat_template(
                    **given, tokenize=True, return_dict=True, return_assistant_tokens_mask="generation" in template
                )
                case["ids"] = out["input_ids"]
                if "generation" in template:
                    case["mask"] = out["assistant_masks"]
                cases.append(case)
target = FIXTURES / "chat" / "expected.json"
target.parent.mkdir(exist_ok=True)
data = {"made_by": "tests/oracle/chat_fixture.py", "templates": TEMPLATES, "conversations": CONVERSATIONS, "tools": TOOLS}
target.write_text(json.dumps({**data, "cases": cases}, ensure_ascii=False) + "\n")
print(target, len(cases), sum("error" in c for c in cases), sum("mask" in c for c in cases))
