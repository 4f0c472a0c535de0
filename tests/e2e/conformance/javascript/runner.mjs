// Makes the calls that it is told, one JSON document a line, with the unmodified SDK; answers in the same way.
import { createInterface } from "node:readline";
import * as sdk from "@aws-sdk/client-socialmessaging";

async function call({ client: config, operation, input, blobs }) {
  for (const name of blobs) input[name] = Buffer.from(input[name], "base64");
  const client = new sdk.SocialMessagingClient(config);
  try {
    const { $metadata, ...output } = await client.send(new sdk[`${operation}Command`](input));
    return { output };
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
