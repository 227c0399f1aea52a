// The request of the form as code.

const quote = JSON.stringify;
const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
const EXTENSIONS = ["temperature", "top_p", "repetition_penalty", "seed", "normalize", "store", "stream"];

function python(url, body, hasKey, model) {
  const { input, voice, speed, response_format: format } = body;
  const literal = (value) => ({ true: "True", false: "False" })[value] ?? quote(value);
  const extra = EXTENSIONS.filter((name) => name in body).map((name) => `${quote(name)}: ${literal(body[name])}`);
  return `${hasKey ? "import os\n\n" : ""}from openai import OpenAI

client = OpenAI(base_url=${quote(`${url}v1`)}, api_key=${hasKey ? 'os.environ["API_KEY"]' : '"none"'})

with client.audio.speech.with_streaming_response.create(
    model=${quote(model)},
    voice=${quote(voice ?? "alloy")},
    input=${quote(input)},
    response_format=${quote(format)},${speed ? `\n    speed=${speed},` : ""}${extra.length ? `\n    extra_body={${extra.join(", ")}},` : ""}
) as response:
    response.stream_to_file("speech.${format}")`;
}

function javascript(url, body, hasKey) {
  const key = hasKey ? "\n    authorization: `Bearer ${process.env.API_KEY}`," : "";
  return `import { writeFile } from "node:fs/promises";

const response = await fetch(${quote(`${url}v1/audio/speech`)}, {
  method: "POST",
  headers: {
    "content-type": "application/json",${key}
  },
  body: JSON.stringify(${quote(body, null, 2).replaceAll("\n", "\n  ")}),
});
if (!response.ok) throw new Error(await response.text());
await writeFile("speech.${body.response_format}", response.body);`;
}

function curl(url, body, hasKey) {
  return `curl --fail-with-body ${url}v1/audio/speech \\
  -H 'content-type: application/json' \\${hasKey ? '\n  -H "authorization: Bearer $API_KEY" \\' : ""}
  -d ${shell(quote(body))} \\
  -o speech.${body.response_format}`;
}

/** Code in `language` that sends `body` to the server at `url`. */
export const codeFor = (language, ...request) => ({ curl, python, javascript })[language](...request);

/** Copy what an element shows; what happened, in words. */
export async function copyText(node, language) {
  try {
    await navigator.clipboard.writeText(node.textContent);
  } catch {  // not allowed, or not a secure origin
    getSelection().selectAllChildren(node);
    if (!document.execCommand("copy")) return "Selected: press Ctrl+C to copy.";
  }
  return `Copied the ${language} code.`;
}
