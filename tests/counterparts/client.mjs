// The OpenAI SDK for Node, as somebody's script uses it: one order on stdin, what came of it as JSON on stdout.
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { text } from "node:stream/consumers";

const { sdk, options, body, photos } = JSON.parse(await text(process.stdin));
const { default: OpenAI } = await import(sdk);
const client = new OpenAI(options);

for (const [field, { path, mime }] of Object.entries(photos)) {
  body[field] = `data:${mime};base64,${(await readFile(path)).toString("base64")}`;
}

async function order() {
  const { data: answer, response } = await client.images.generate(body).withResponse();
  const requestId = response.headers.get("x-oneapi-request-id");
  const url = answer.data[0].url;
  const picture = Buffer.from(await (await fetch(url)).arrayBuffer());
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  return { status: response.status, requestId, url, sha256: createHash("sha256").update(picture).digest("hex"), models };
}

try {
  console.log(JSON.stringify(await order()));
} catch (error) {
  if (!(error instanceof OpenAI.APIError)) throw error;
  const { status, code, param, type, message } = error;
  console.log(JSON.stringify({ error: error.constructor.name, status, code, param, type, message }));
}
