// What users of the npm package `ollama` do; prints one JSON object. Arguments: the server's URL.
const { Ollama } = require("ollama");

async function main(host) {
  const ollama = new Ollama({ host });
  const model = "scripted";
  const messages = [{ role: "user", content: "say Hello" }];
  const found = {};
  found.chat = (await ollama.chat({ model, messages })).message.content;
  found.generate = (await ollama.generate({ model, prompt: "say Hello" })).response;
  found.streamed = "";
  for await (const part of await ollama.chat({ model, messages, stream: true })) found.streamed += part.message.content;
  found.embeddings = (await ollama.embed({ model, input: ["one", "two"] })).embeddings.length;
  found.models = (await ollama.list()).models.map((entry) => entry.name);
  found.running = (await ollama.ps()).models.length;
  found.architecture = (await ollama.show({ model })).model_info["general.architecture"];
  found.version = (await ollama.version()).version;
  const schema = { type: "object", properties: { ok: { type: "boolean" } }, required: ["ok"], additionalProperties: false };
  found.structured = typeof JSON.parse((await ollama.generate({ model, prompt: "say x", format: schema })).response).ok;
  found.missing = await ollama.chat({ model: "other", messages }).catch((error) => [error.status_code, error.message]);
  found.refused = await ollama.pull({ model: "m" }).catch((error) => [error.status_code, error.message]);
  found.broken = await (async () => {
    const stream = await ollama.generate({ model, prompt: "raise=2 say Hello", stream: true });
    for await (const part of stream) void part;
  })().catch((error) => error.message);
  const long = await ollama.generate({ model, prompt: "delay=0.05 say " + "long ".repeat(100), stream: true });
  found.aborted = await (async () => {
    for await (const part of long) { void part; long.abort(); }
  })().catch((error) => error.name);
  console.log(JSON.stringify(found));
}

main(process.argv[2]);
