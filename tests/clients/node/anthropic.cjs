// What users of the npm package `@anthropic-ai/sdk` do; prints one JSON object. Arguments: the server's URL.
const Anthropic = require("@anthropic-ai/sdk").default;

async function main(host) {
  const client = new Anthropic({ baseURL: host, apiKey: "none", maxRetries: 0 });
  const asked = { model: "scripted", max_tokens: 100, messages: [{ role: "user", content: "say Hello" }] };
  const found = {};
  const whole = await client.messages.create(asked);
  found.whole = whole.content[0].text;
  found.requestId = whole._request_id;
  found.events = [];
  for await (const event of await client.messages.create({ ...asked, stream: true })) found.events.push(event.type);
  const stream = client.messages.stream({ ...asked, stop_sequences: ["l"] });
  const final = await stream.finalMessage();
  found.streamed = [final.content[0].text, final.stop_reason, final.stop_sequence, final.usage.output_tokens];
  found.counted = (await client.messages.countTokens({ model: asked.model, messages: asked.messages })).input_tokens;
  found.used = whole.usage.input_tokens + whole.usage.cache_read_input_tokens;
  found.models = [];
  for await (const model of client.models.list()) found.models.push(model.id);
  found.missing = await client.messages.create({ ...asked, model: "other" })
    .catch((error) => [error.constructor.name, error.status, error.error.error.type]);
  found.broken = await (async () => {
    const failing = client.messages.stream({ ...asked, messages: [{ role: "user", content: "raise=2 say Hello" }] });
    await failing.finalMessage();
  })().catch((error) => error.message);
  console.log(JSON.stringify(found));
}

main(process.argv[2]);
