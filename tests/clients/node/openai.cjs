// What users of the npm package `openai` do; prints one JSON object. Arguments: the server's URL.
const OpenAI = require("openai").default;

async function main(host) {
  const client = new OpenAI({ baseURL: `${host}/v1`, apiKey: "none", maxRetries: 0 });
  const model = "scripted";
  const messages = [{ role: "user", content: "say Hello" }];
  const found = {};
  const whole = await client.chat.completions.create({ model, messages });
  found.chat = whole.choices[0].message.content;
  found.requestId = whole._request_id;
  found.streamed = "";
  const stream = await client.chat.completions.create(
    { model, messages, stream: true, stream_options: { include_usage: true } });
  for await (const chunk of stream) {
    found.streamed += chunk.choices[0]?.delta?.content ?? "";
    if (chunk.usage) found.tokens = chunk.usage.completion_tokens;
  }
  found.helper = await client.chat.completions.stream({ model, messages }).finalContent();
  found.completion = (await client.completions.create({ model, prompt: "say Hello" })).choices[0].text;
  found.response = (await client.responses.create({ model, input: "say Hello" })).output_text;
  found.events = [];
  for await (const event of await client.responses.create({ model, input: "say x", stream: true })) {
    found.events.push(event.type);
  }
  found.embedding = (await client.embeddings.create({ model, input: "one" })).data[0].embedding.length;
  found.models = (await client.models.list()).data.map((entry) => entry.id);
  found.missing = await client.chat.completions.create({ model: "other", messages })
    .catch((error) => [error.constructor.name, error.status, error.code]);
  found.broken = await (async () => {
    const failing = await client.completions.create({ model, prompt: "raise=2 say Hello", stream: true });
    for await (const chunk of failing) void chunk;
  })().catch((error) => error.message);
  console.log(JSON.stringify(found));
}

main(process.argv[2]);
