// An OpenID provider for the tests: the certified oidc-provider behind TLS on a port of its own.
// Standard input: one line of JSON with what the test wants of it. Standard output: one line when it listens.
import { createServer } from 'node:https';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

import Provider from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
const wanted = await new Promise((resolve) => lines.once('line', (line) => resolve(JSON.parse(line))));

const server = createServer({ cert: readFileSync(wanted.certificate), key: readFileSync(wanted.key) });
await new Promise((resolve) => server.listen(wanted.port ?? 0, 'localhost', resolve));
const origin = `https://localhost:${server.address().port}`;

const people = wanted.people;
const provider = new Provider(wanted.issuer ?? origin, {
  clients: wanted.clients,
  jwks: wanted.jwks,
  cookies: { keys: ['only for tests'] },
  claims: { openid: ['sub', 'acr', 'amr', 'auth_time'], profile: ['name', 'groups'] },
  acrValues: ['urn:test:password', 'urn:test:strong'],
  features: {
    devInteractions: { enabled: false },
    rpInitiatedLogout: { enabled: true },
    backchannelLogout: { enabled: true },
    userinfo: { enabled: wanted.userinfo ?? true },
  },
  conformIdTokenClaims: wanted.conformIdTokenClaims ?? true,
  clientAuthMethods: wanted.clientAuthMethods ?? ['client_secret_basic', 'private_key_jwt'],
  enabledJWA: {
    idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA', 'Ed25519', 'HS256'],
    clientAuthSigningAlgValues: ['ES256', 'EdDSA', 'PS256', 'RS256'],
  },
  pkce: { required: () => wanted.pkceRequired ?? true },
  interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
  findAccount: (ctx, id) => people[id] && {
    accountId: id,
    claims: () => ({ sub: id, ...people[id] }),
  },
  loadExistingGrant: async (ctx) => {
    // Nobody has to consent: the site's administrator did.
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope('openid profile');
    await grant.save();
    return grant;
  },
});

const handle = provider.callback();
server.on('request', async (request, response) => {
  const url = new URL(request.url, origin);
  if (url.pathname.startsWith('/interaction/')) {
    // Who signs in is said by the test's browser in a query parameter of this page, in place of a password.
    const login = url.searchParams.get('login');
    if (!login) {
      response.end('sign in');
      return;
    }
    const result = {
      login: {
        accountId: login,
        acr: url.searchParams.get('acr') ?? 'urn:test:password',
        amr: (url.searchParams.get('amr') ?? 'pwd').split(' '),
      },
    };
    await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  handle(request, response);
});
process.stdout.write(`${JSON.stringify({ origin })}\n`);
lines.on('close', () => process.exit(0));
