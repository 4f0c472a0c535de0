// A provider of OpenID Connect, as its library makes it, at which Ada is signed in already.

import { createServer } from "node:http";
import { Provider } from "oidc-provider";

const [issuer, redirectUri, algorithm] = process.argv.slice(2);
const provider = new Provider(issuer, {
  clients: [{
    client_id: "whaul",
    client_secret: "secret-of-the-client",
    redirect_uris: [redirectUri],
    post_logout_redirect_uris: [redirectUri],
    grant_types: ["authorization_code"],
    id_token_signed_response_alg: algorithm,
  }],
  claims: { openid: ["sub"], email: ["email", "email_verified"], groups: ["groups"] },
  enabledJWA: { idTokenSigningAlgValues: [algorithm] },
  features: { devInteractions: { enabled: false } },
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, email: "ada@example.com", email_verified: true, groups: ["staff", "admins"] }),
  }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  jwks: JSON.parse(process.env.KEYS),
  async loadExistingGrant(ctx) {
    const { client, session } = ctx.oidc;
    const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
    grant.addOIDCScope("openid email groups");
    await grant.save();
    return grant;
  },
});

createServer((request, response) => {
  if (!request.url.startsWith("/interaction/")) return provider.callback()(request, response);
  return provider.interactionFinished(request, response, { login: { accountId: "ada-0001" } });
}).listen(Number(new URL(issuer).port), "127.0.0.1");
