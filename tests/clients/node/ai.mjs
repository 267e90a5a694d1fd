// What users of the npm package `ai` do, with four providers; prints one JSON object. Arguments: the server's URL.
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { createAnthropic } from "@ai-sdk/anthropic";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOllama } from "ollama-ai-provider-v2";
import { z } from "zod";

globalThis.AI_SDK_LOG_WARNINGS = false;
const host = process.argv[2];
const at = { baseURL: `${host}/v1`, apiKey: "none" };
const compatible = createOpenAICompatible({ ...at, name: "minivault", includeUsage: true, supportsStructuredOutputs: true });
const ollama = createOllama({ baseURL: `${host}/api` });
const providers = { openai: createOpenAI(at), compatible, anthropic: createAnthropic(at), ollama };
const add = tool({
  description: "Adds two numbers.",
  inputSchema: z.object({ a: z.number(), b: z.number() }),
  execute: ({ a, b }) => a + b,
});
const call = '<tool_call>{"name": "add", "arguments": {"a": 1, "b": 2}}</tool_call>';

async function tried(provider) {
  const model = provider("scripted");
  const found = {};
  const asked = { model, maxRetries: 0, maxOutputTokens: 100 };
  found.text = (await generateText({ ...asked, prompt: "say Hello" })).text;
  const stream = streamText({ ...asked, prompt: "say Hello" });
  found.streamed = "";
  for await (const piece of stream.textStream) found.streamed += piece;
  found.tokens = (await stream.usage).outputTokens;
  const output = Output.object({ schema: z.object({ ok: z.boolean() }) });
  found.structured = typeof (await generateText({ ...asked, prompt: "say x", output })).output.ok;
  const tools = { ...asked, prompt: `say Let me see. ${call}`, tools: { add }, stopWhen: stepCountIs(3) };
  found.called = (await generateText(tools)).text;
  const parts = [];
  for await (const part of streamText(tools).fullStream) {
    if (part.type === "tool-call") parts.push(part.input);
    if (part.type === "tool-result") parts.push(part.output);
  }
  found.streamedCall = parts;
  found.missing = await generateText({ ...asked, model: provider("other"), prompt: "say Hello" })
    .catch((error) => [error.name, error.statusCode]);
  return found;
}

const found = {};
for (const [name, provider] of Object.entries(providers)) found[name] = await tried(provider);
for (const [name, model] of [["compatible", compatible.embeddingModel("scripted")], ["ollama", ollama.embeddingModel("scripted")]]) {
  found[name].embeddings = (await embedMany({ model, values: ["one", "two"] })).embeddings.map((one) => one.length);
}
console.log(JSON.stringify(found));
