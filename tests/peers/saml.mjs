// A SAML identity provider for the tests: samlp writes and signs the responses, one for each line of JSON.
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

import samlp from 'samlp';

function respond(wanted) {
  const options = {
    issuer: wanted.issuer,
    cert: readFileSync(wanted.certificate),
    key: readFileSync(wanted.key),
    audience: wanted.audience,
    recipient: wanted.recipient,
    destination: wanted.destination,
    inResponseTo: wanted.inResponseTo,
    lifetimeInSeconds: wanted.lifetime ?? 300,
    signatureAlgorithm: wanted.signatureAlgorithm ?? 'rsa-sha256',
    digestAlgorithm: wanted.digestAlgorithm ?? 'sha256',
    signResponse: wanted.sign.includes('response'),
    signAssertion: wanted.sign.includes('assertion'),
    sessionIndex: '_session',
    authnContextClassRef: wanted.context,
    nameIdentifierFormat: wanted.nameIdFormat ?? 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
    samlStatusCode: wanted.status,
    includeAttributeNameFormat: true,
  };
  const person = {
    id: wanted.person,
    displayName: wanted.displayName ?? 'Jane Doe',
    name: { givenName: 'Jane', familyName: 'Doe' },
    emails: [{ value: 'jane@example.org' }],
    groups: wanted.groups ?? ['radiology', 'everybody'],
  };
  return new Promise((resolve, reject) => {
    samlp.getSamlResponse(options, person, (error, response) => (error ? reject(error) : resolve(response)));
  });
}

function parseRequest(wanted) {
  return new Promise((resolve, reject) => {
    const request = { method: 'GET', query: { SAMLRequest: wanted.request } };
    samlp.parseRequest(request, (error, data) => (error ? reject(error) : resolve(data)));
  });
}

function metadata(wanted) {
  let document;
  const answer = samlp.metadata({
    issuer: wanted.issuer,
    cert: readFileSync(wanted.certificate),
    redirectEndpointPath: '/sso',
    postEndpointPath: '/sso',
  });
  const request = { headers: { host: 'idp.example' }, protocol: 'https', originalUrl: '/' };
  answer(request, { set: () => {}, send: (body) => { document = body; } });
  return document;
}

const actions = {
  respond: async (wanted) => ({ response: await respond(wanted) }),
  parse: async (wanted) => ({ request: await parseRequest(wanted) }),
  metadata: async (wanted) => ({ metadata: metadata(wanted) }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const wanted = JSON.parse(line);
  const answer = await actions[wanted.action](wanted).catch((error) => ({ error: String(error) }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
