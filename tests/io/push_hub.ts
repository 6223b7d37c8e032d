/**
 * A hub on this machine that takes pushes: repositories, branches, commits and large files as the hub's API has them,
 * and enough of its reading side to load what was pushed.
 *
 * @module
 */
import { infoOf, sha256 } from "./fake_hub.ts";

/** What is at a branch. */
export interface Branch {
  commit: string;
  files: Map<string, Uint8Array>;
  /** Commits, the newest last. */
  log: { summary: string; description?: string }[];
}

export interface PushedRepo {
  visibility?: string;
  branches: Map<string, Branch>;
  /** Files of the pull requests. */
  requests: Branch[];
}

export interface PushHub {
  url: string;
  /** Another server, as the real hub's storage is, which must see no token. */
  storage: string;
  /** Token to who it is. */
  users: Map<string, { name: string; role: "read" | "write" }>;
  repos: Map<string, PushedRepo>;
  /** Large files by their SHA-256. */
  large: Map<string, Uint8Array>;
  /** Every request, as "METHOD path". */
  requests: string[];
  /** Bytes of a part of a large file; 0: in one piece. */
  partBytes: number;
  /** Answers in place of the hub, by "METHOD path". */
  trick?: (request: string) => Response | undefined | Promise<Response | undefined>;
  stop(): Promise<void>;
}

const refuse = (status: number, error: string) => Response.json({ error }, { status });
const decoder = new TextDecoder();

/** The commit of files: a hash of all they are. */
function commitOf(files: ReadonlyMap<string, Uint8Array>): string {
  const text = [...files].map(([path, bytes]) => `${path} ${sha256(bytes)}`).sort().join("\n");
  return sha256(new TextEncoder().encode(text)).slice(0, 40);
}

function newBranch(files: ReadonlyMap<string, Uint8Array> = new Map()): Branch {
  return { commit: commitOf(files), files: new Map(files), log: [] };
}

/** Parts of large files that wait for the rest. */
type Parts = Map<string, Map<number, Uint8Array>>;

/** What Git LFS is told of each object: nothing where it is there, else where it goes. */
function lfsBatch(hub: PushHub, objects: readonly { oid: string; size: number }[]): Response {
  return Response.json({
    transfer: hub.partBytes > 0 ? "multipart" : "basic",
    objects: objects.map(({ oid, size }) => {
      if (hub.large.has(oid)) return { oid, size };
      const href = `${hub.storage}/lfs/${oid}`;
      if (hub.partBytes === 0) return { oid, size, actions: { upload: { href } } };
      const count = Math.ceil(size / hub.partBytes);
      const parts = Array.from(
        { length: count },
        (_, i) => [String(i + 1).padStart(5, "0"), `${href}/${i + 1}`],
      );
      const header = { chunk_size: String(hub.partBytes), ...Object.fromEntries(parts) };
      return { oid, size, actions: { upload: { href, header } } };
    }),
  });
}

/** One commit, from its lines. */
function commit(hub: PushHub, id: string, name: string, opensRequest: boolean, text: string): Response {
  const repo = hub.repos.get(id)!;
  const base = repo.branches.get(name);
  if (!base) return refuse(404, `Invalid rev id: ${name}`);
  const made = newBranch(base.files);
  made.log = [...base.log];
  for (const line of text.split("\n").map((line) => JSON.parse(line))) {
    if (line.key === "header") made.log.push(line.value);
    else if (line.key === "file") {
      made.files.set(line.value.path, Uint8Array.from(atob(line.value.content), (c) => c.charCodeAt(0)));
    } else if (line.key === "lfsFile") {
      const bytes = hub.large.get(line.value.oid);
      if (!bytes || bytes.length !== line.value.size) {
        return refuse(400, `LFS object ${line.value.oid} is missing`);
      }
      made.files.set(line.value.path, bytes);
    } else return refuse(400, `unknown line ${line.key}`);
  }
  made.commit = commitOf(made.files);
  if (opensRequest) repo.requests.push(made);
  else repo.branches.set(name, made);
  return Response.json({
    success: true,
    commitOid: made.commit,
    commitUrl: `${hub.url}/${id}/commit/${made.commit}`,
    hookOutput: "",
    ...opensRequest && { pullRequestUrl: `${hub.url}/${id}/discussions/${repo.requests.length}` },
  });
}

/** The branch that a revision names. */
function at(repo: PushedRepo, revision: string): Branch | undefined {
  return repo.branches.get(revision) ??
    [...repo.branches.values()].find((branch) => branch.commit === revision);
}

/** Answers to questions about what is there. */
async function read(hub: PushHub, path: string, request: Request): Promise<Response> {
  const [, api, id, what, rest = ""] =
    /^\/(api\/models\/)?([\w.-]+\/[\w.-]+?)(?:\/(revision|tree|paths-info|resolve)\/(.+))?$/.exec(path) ?? [];
  const repo = hub.repos.get(id);
  if (!repo) return refuse(404, "Repository not found");
  if (api && !what) return Response.json({ id });
  const [revision, ...name] = what === "resolve" ? rest.split("/") : [rest];
  const branch = at(repo, decodeURIComponent(revision));
  if (!branch) return refuse(404, "Revision not found");
  const info = (name: string) => ({ type: "file", path: name, ...infoOf(name, branch.files.get(name)!) });
  if (what === "revision") return Response.json({ _id: "1", id, sha: branch.commit });
  if (what === "tree") return Response.json([...branch.files.keys()].map(info));
  if (what === "paths-info") {
    const { paths } = await request.json() as { paths: string[] };
    return Response.json(paths.filter((path) => branch.files.has(path)).map(info));
  }
  const bytes = branch.files.get(name.join("/"));
  return bytes ? new Response(bytes.slice()) : new Response("Entry not found", { status: 404 });
}

/** Answers to uploads of large files. */
async function takeLarge(hub: PushHub, parts: Parts, path: string, request: Request): Promise<Response> {
  const [, oid, part] = /^\/lfs\/([0-9a-f]{64})(?:\/(\d+))?$/.exec(path)!;
  if (request.method === "PUT") {
    if (request.headers.has("Authorization")) return refuse(400, "a token in a request to the storage");
    const bytes = await request.bytes();
    if (part !== undefined) {
      const own = parts.get(oid) ?? new Map<number, Uint8Array>();
      parts.set(oid, own.set(Number(part), bytes));
      return new Response(null, { headers: { ETag: `"${sha256(bytes)}"` } });
    }
    if (sha256(bytes) !== oid) return refuse(400, "wrong content");
    hub.large.set(oid, bytes);
    return new Response();
  }
  const { parts: listed } = await request.json() as { parts: { partNumber: number; etag: string }[] };
  const pieces = listed.map(({ partNumber }) => parts.get(oid)?.get(partNumber) ?? new Uint8Array());
  const bytes = await new Blob(pieces.map((piece) => piece.slice())).bytes();
  const isWhole = listed.every(({ etag }, i) => etag === `"${sha256(pieces[i])}"`) && sha256(bytes) === oid;
  if (!isWhole) return refuse(400, "wrong parts");
  hub.large.set(oid, bytes);
  return new Response();
}

/** Answers to what needs a token that may write. */
async function write(hub: PushHub, path: string, request: Request): Promise<Response> {
  const user = hub.users.get((request.headers.get("Authorization") ?? "").replace("Bearer ", ""));
  if (!user) return refuse(401, "Invalid credentials in Authorization header");
  if (path === "/api/whoami-v2") {
    const accessToken = { displayName: "test", role: user.role, createdAt: "2026-01-01T00:00:00Z" };
    const auth = { type: "access_token", accessToken };
    return Response.json({ type: "user", id: "1", name: user.name, orgs: [{ name: "org" }], auth });
  }
  if (user.role === "read") return refuse(403, "You don't have the rights to write");
  if (path === "/api/repos/create") {
    const { organization, name, visibility } = await request.json();
    const id = `${organization}/${name}`;
    if (organization !== user.name && organization !== "org") {
      return refuse(403, `You don't have the rights to create a model under the namespace "${organization}"`);
    }
    if (hub.repos.has(id)) return refuse(409, "You already created this model repo");
    hub.repos.set(id, { visibility, branches: new Map([["main", newBranch()]]), requests: [] });
    return Response.json({ url: `${hub.url}/${id}`, id });
  }
  const [, id, what, name = "main"] =
    /^\/(?:api\/models\/)?([\w.-]+\/[\w.-]+?)(?:\.git)?\/(preupload|branch|commit|info)\/(.+)$/.exec(path) ??
      [];
  const repo = hub.repos.get(id);
  if (!repo) return refuse(404, "Repository not found");
  const branch = decodeURIComponent(name);
  const opensRequest = new URL(request.url).searchParams.has("create_pr");
  if (what === "branch") {
    if (repo.branches.has(branch)) return refuse(409, "Reference already exists");
    repo.branches.set(branch, newBranch(repo.branches.get("main")!.files));
    return Response.json({});
  }
  const body = decoder.decode(await request.bytes());
  if (what === "info") return lfsBatch(hub, JSON.parse(body).objects);
  if (id.split("/")[0] !== user.name && !id.startsWith("org/") && !opensRequest) {
    return refuse(403, "You don't have the rights to commit here; open a pull request");
  }
  if (what === "commit") return commit(hub, id, branch, opensRequest, body);
  const { files } = JSON.parse(body) as { files: { path: string; size: number; sample: string }[] };
  const mode = (path: string) => /\.(safetensors|gguf|bin)$/.test(path) ? "lfs" : "regular";
  return Response.json({ files: files.map(({ path }) => ({ path, uploadMode: mode(path) })) });
}

/** Serves such a hub, with the user "me" of the token "hf_me" and "reader" of "hf_reader", who may only read. */
export function servePushHub(): PushHub {
  const parts: Parts = new Map();
  const hub: PushHub = {
    url: "",
    storage: "",
    users: new Map([["hf_me", { name: "me", role: "write" }], ["hf_reader", {
      name: "reader",
      role: "read",
    }]]),
    repos: new Map(),
    large: new Map(),
    requests: [],
    partBytes: 0,
    stop: async () => {
      await Promise.all([server.shutdown(), storage.shutdown()]);
    },
  };
  const answer = async (request: Request) => {
    const { pathname: path } = new URL(request.url);
    hub.requests.push(`${request.method} ${path}`);
    const tricked = await hub.trick?.(`${request.method} ${path}`);
    if (tricked) return tricked;
    if (path.startsWith("/lfs/")) return await takeLarge(hub, parts, path, request);
    const reads = request.method === "GET" && path !== "/api/whoami-v2" || path.includes("/paths-info/");
    return await (reads ? read : write)(hub, path, request);
  };
  const place = { port: 0, hostname: "127.0.0.1", onListen: () => {} };
  const server = Deno.serve(place, answer);
  // pages reach the storage of the real hub too, which allows their origin
  const allowed = { "Access-Control-Allow-Origin": "*", "Access-Control-Expose-Headers": "ETag" };
  const asked = { "Access-Control-Allow-Methods": "PUT, POST", "Access-Control-Allow-Headers": "*" };
  const storage = Deno.serve(place, async (request) => {
    if (request.method === "OPTIONS") return new Response(null, { headers: { ...allowed, ...asked } });
    const response = await answer(request);
    for (const [name, value] of Object.entries(allowed)) response.headers.set(name, value);
    return response;
  });
  hub.url = `http://127.0.0.1:${server.addr.port}`;
  hub.storage = `http://127.0.0.1:${storage.addr.port}`;
  return hub;
}

/** The text of a file of a branch; undefined where there is none. */
export function textIn(branch: Branch | undefined, path: string): string | undefined {
  const bytes = branch?.files.get(path);
  return bytes && decoder.decode(bytes);
}
