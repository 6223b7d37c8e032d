/**
 * A folder in which esbuild finds npm packages: links into Deno's cache.
 * @module
 */

/** Runs Deno and gives what it prints. */
async function runDeno(args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), { args, stdin: "null" })
    .output();
  if (!success) {
    throw new Error(`Cannot bundle: deno ${args[0]} failed: ${new TextDecoder().decode(stderr).trim()}`);
  }
  return new TextDecoder().decode(stdout);
}

/** Name and version of `npm:/@scope/name@1.2.3/path`. */
function parseSpecifier(specifier: string): [name: string, version: string] {
  const [, name, version] = /^(?:npm:)?\/?((?:@[^/]+\/)?[^@/]+)@([^/]+)/.exec(specifier)!;
  return [name, version];
}

/**
 * Links packages, fetching those that the cache lacks.
 * @param specifiers with versions, such as `npm:preact@11.2.0`
 * @returns path of a temporary folder, the caller's to remove
 * @throws Error where a package cannot be fetched
 */
export async function linkPackages(specifiers: readonly string[]): Promise<string> {
  const { npmCache } = JSON.parse(await runDeno(["info", "--json"])) as { npmCache: string };
  const folder = await Deno.makeTempDir();
  const packages = [...new Set(specifiers)].map(parseSpecifier);
  // the lock has them by deno.json
  await runDeno([
    "cache",
    "--quiet",
    "--no-lock",
    ...packages.map(([name, version]) => `npm:${name}@${version}`),
  ]);
  for (const [name, version] of packages) {
    for (const registry of Deno.readDirSync(npmCache)) {
      const path = `${npmCache}/${registry.name}/${name}/${version}`;
      if (!await Deno.stat(path).then((info) => info.isDirectory, () => false)) continue;
      await Deno.mkdir(`${folder}/${name.split("/").slice(0, -1).join("/")}`, { recursive: true });
      await Deno.symlink(path, `${folder}/${name}`);
      break;
    }
  }
  return folder;
}
