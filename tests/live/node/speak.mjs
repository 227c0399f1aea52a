// OpenAI's own package against a running server.
// node speak.mjs BASE_URL DIRECTORY: writes one file of audio per format, and prints as JSON what
// came back beside it.

import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import OpenAI from "openai";

const [, , baseURL, directory] = process.argv;
const client = new OpenAI({ baseURL, apiKey: "none" });

const FORMATS = ["mp3", "opus", "aac", "flac", "wav", "pcm"];
const request = {
  model: "tts-1",
  voice: "alloy",
  input: "The quick brown fox jumped over the lazy dog. It was not amused, but it slept on.",
};
const MISTAKES = {
  voice: { ...request, voice: "other" },
  model: { ...request, model: "other" },
  input: { ...request, input: "" },
  speed: { ...request, speed: 9 },
  response_format: { ...request, response_format: "oga" },
};

async function speakToBuffers() {
  const types = {};
  for (const format of FORMATS) {
    const answer = await client.audio.speech.create({ ...request, response_format: format });
    types[format] = answer.headers.get("content-type");
    await writeFile(join(directory, `speech.${format}`), Buffer.from(await answer.arrayBuffer()));
  }
  return types;
}

async function streamToChunks() {
  const answer = await client.audio.speech.create({ ...request, response_format: "pcm" });
  const chunks = [];
  for await (const chunk of answer.body) chunks.push(Buffer.from(chunk));
  await writeFile(join(directory, "streamed.pcm"), Buffer.concat(chunks));
  return { count: chunks.length, transferEncoding: answer.headers.get("transfer-encoding") };
}

async function readRequestId() {
  const { response, request_id: id } = await client.audio.speech.create(request).withResponse();
  await response.arrayBuffer();
  return { id, header: response.headers.get("x-request-id") };
}

async function makeMistake(mistaken) {
  try {
    await client.audio.speech.create(mistaken);
  } catch (error) {
    const { status, code, param, type, requestID } = error;
    const { name } = [OpenAI.BadRequestError, OpenAI.NotFoundError].find((kind) => error instanceof kind) ?? Error;
    return { name, status, code, param, type, requestID };
  }
  return null;
}

async function makeMistakes() {
  const found = {};
  for (const [field, mistaken] of Object.entries(MISTAKES)) found[field] = await makeMistake(mistaken);
  return found;
}

async function listModels() {
  const names = [];
  for await (const model of client.models.list()) names.push(model.id);
  return names;
}

async function readEvents() {
  const answer = await client.audio.speech.create({
    ...request, model: "gpt-4o-mini-tts", response_format: "pcm", stream_format: "sse",
  });
  const text = await new Response(answer.body).text();
  const lines = text.split("\n").filter((line) => line.startsWith("data: ") && line !== "data: [DONE]");
  const type = answer.headers.get("content-type");
  return { type, events: type.startsWith("text/event-stream") ? lines.map((line) => JSON.parse(line.slice(6))) : [] };
}

console.log(JSON.stringify({
  types: await speakToBuffers(),
  streamed: await streamToChunks(),
  requestId: await readRequestId(),
  mistakes: await makeMistakes(),
  models: await listModels(),
  sse: await readEvents(),
}));
