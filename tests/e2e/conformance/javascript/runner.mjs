// Makes the calls that it is told, one JSON document a line, with the unmodified SDK; answers in the same way.
import { createInterface } from "node:readline";
import * as sdk from "@aws-sdk/client-socialmessaging";

function inSeconds(value) {
  if (value instanceof Date) return value.getTime() / 1000;
  if (Array.isArray(value)) return value.map(inSeconds);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, member]) => [name, inSeconds(member)]));
}

async function call({ client: config, operation, input, blobs }) {
  const Command = sdk[`${operation}Command`];
  if (Command === undefined) return { error: "the SDK has no such operation" };
  for (const name of blobs) input[name] = Buffer.from(input[name], "base64");
  const client = new sdk.SocialMessagingClient(config);
  try {
    const { $metadata, ...output } = await client.send(new Command(input));
    return { output: inSeconds(output) };
  } catch (error) {
    const kind = sdk[error.name];
    const typed = kind !== undefined && error instanceof kind;
    return { error: error.name, status: error.$metadata?.httpStatusCode, typed };
  } finally {
    client.destroy();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(await call(JSON.parse(line)))}\n`);
}
