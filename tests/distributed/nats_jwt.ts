/**
 * An operator, an account and a user of NATS, as `nsc` makes them: JWTs that NKeys sign.
 * Source: NATS ADR-14 and github.com/nats-io/jwt, version 2.
 * @module
 */

import { nkeys } from "@nats-io/nats-core";

type KeyPair = ReturnType<typeof nkeys.createUser>;

const encode = (bytes: Uint8Array) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
const encodeJson = (value: unknown) => encode(new TextEncoder().encode(JSON.stringify(value)));

function sign(issuer: KeyPair, subject: KeyPair, name: string, nats: Record<string, unknown>): string {
  const header = encodeJson({ typ: "JWT", alg: "ed25519-nkey" });
  const claims = {
    ...{ jti: crypto.randomUUID(), iat: Math.floor(Date.now() / 1000), name },
    ...{ iss: issuer.getPublicKey(), sub: subject.getPublicKey(), nats: { version: 2, ...nats } },
  };
  const text = `${header}.${encodeJson(claims)}`;
  return `${text}.${encode(issuer.sign(new TextEncoder().encode(text)))}`;
}

/** Lines of a server's configuration, and the text of the `.creds` file of a user that it lets in. */
export function jwtUser(): { config: string; creds: string } {
  const [operator, account, user] = [nkeys.createOperator(), nkeys.createAccount(), nkeys.createUser()];
  const system = nkeys.createAccount(); // JetStream needs one
  const limits = { subs: -1, data: -1, payload: -1 };
  const accountLimits = { ...limits, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
  const stores = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const systemKey = system.getPublicKey();
  const operatorJwt = sign(operator, operator, "operator", { type: "operator", system_account: systemKey });
  const systemJwt = sign(operator, system, "system", { type: "account", limits: accountLimits });
  const accountJwt = sign(operator, account, "account", {
    ...{ type: "account", limits: { ...accountLimits, ...stores } },
  });
  const userJwt = sign(account, user, "user", { type: "user", ...limits });
  return {
    config: `operator: ${operatorJwt}\nsystem_account: ${systemKey}\nresolver: MEMORY
resolver_preload: { ${account.getPublicKey()}: ${accountJwt}, ${systemKey}: ${systemJwt} }`,
    creds: `-----BEGIN NATS USER JWT-----\n${userJwt}\n------END NATS USER JWT------\n
-----BEGIN USER NKEY SEED-----\n${
      new TextDecoder().decode(user.getSeed())
    }\n------END USER NKEY SEED------\n`,
  };
}
