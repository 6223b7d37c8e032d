/**
 * The page by which a tab joins a training, with an engine that computes nothing.
 * @module
 */
import { assert, assertEquals } from "@std/assert";
import { withStudio } from "./studio_page.ts";

const FAKE_ENGINE = new URL("./fake_engine.ts", import.meta.url).pathname;
const BROKER = "wss://broker.example.org:9222";
const LINK = `join.html#broker=${BROKER}&training=pirate&model=owner/small&base=${"a".repeat(64)}`;

Deno.test("the page by which a tab joins says what it would do, joins by keyboard, shows its work and leaves, without a fault that axe-core knows", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async (studio) => {
    const { page, inspect } = studio;
    const button = (name: string | RegExp) => page.getByRole("button", { name });
    const heading = (name: string) => page.getByRole("heading", { name }).waitFor();
    await studio.open(`${LINK}&user=fail/broker-login&password=secret`);
    await heading("Lend this tab to a training");
    assertEquals(
      new URL(page.url()).hash,
      LINK.slice("join.html".length),
      "no credentials in the address bar",
    );
    await page.getByText("broker.example.org:9222", { exact: true }).waitFor();
    await page.getByText("SHA-256 aaaaaaaaaaaa…").waitFor();
    assertEquals(await page.getByLabel("Name of the model").inputValue(), "owner/small");
    assertEquals(await button("Join").isDisabled(), true, "a base model is chosen first");

    await button("Fetch and use").click();
    await page.getByRole("alert").getByText("those of another model").waitFor();
    await inspect("join_1_before");
    assertEquals(await button("Join").isDisabled(), true);
    await button("Use the storyteller").click();
    await page.getByText("the one that is needed").waitFor();
    await button("Join").click();
    await page.getByRole("alert").getByText('a failure of the kind "broker-login"').waitFor();
    await page.getByLabel("User").fill("peft"); // the fields are open: that is where to mend it
    assertEquals(await page.getByLabel("Password").inputValue(), "secret");

    const focused = () => page.evaluate("document.activeElement.innerText") as Promise<string>;
    for (let presses = 0; await focused() !== "Join"; presses++) {
      assert(presses < 30, "nothing is called Join within 30 presses of Tab");
      await page.keyboard.press("Tab");
    }
    await page.keyboard.press("Enter");
    await page.locator("h1:focus", { hasText: "This tab computes" }).waitFor();
    await page.getByRole("progressbar", { name: "Step 20 of 40" }).waitFor();
    await page.getByText('training "pirate": this worker is a node').waitFor();
    await inspect("join_2_working");
    await button("Leave").click();
    await heading("This tab has left");
    await page.getByText("It took part in 1 training, 20 steps in all, and computed 20 shares").waitFor();
    await button("Join again").click();
    await heading("This tab computes");

    // What would keep the studio from working keeps this page from it, too.
    studio.serve("/assets/problem", "no-webgpu");
    await page.reload();
    await page.getByRole("heading", { name: 'of the kind "no-webgpu"' }).waitFor();
    studio.serve("/assets/problem", "");

    await studio.open("join.html#broker=nats://peft:secret@10.0.0.1:4222");
    await heading("The link names no broker that a tab can reach.");
    assertEquals((await page.locator("main").innerText()).includes("secret"), false);
    await inspect("join_3_wrong_link");
    assertEquals([studio.problems, studio.refused, studio.messages, studio.sockets], [[], [], [], []]);
  });
});

Deno.test("the browser lets the page by which a tab joins reach the broker of its link, and no other", async () => {
  await withStudio({ engine: FAKE_ENGINE }, async ({ page, open }) => {
    // what the policy forbids fails at once; an address where nobody is fails as a connection
    const blocked = (address: string) =>
      page.evaluate(`new Promise((resolve) => {
        document.addEventListener("securitypolicyviolation", () => resolve(true), { once: true });
        try {
          const socket = new WebSocket(${JSON.stringify(address)});
          socket.onerror = () => setTimeout(() => resolve(false), 200);
        } catch {
          resolve(true);
        }
      })`);
    await open("join.html#broker=ws://127.0.0.1:9");
    await page.getByRole("heading", { name: "Lend this tab" }).waitFor();
    assertEquals(await blocked("ws://127.0.0.1:9/"), false);
    assertEquals(await blocked("ws://127.0.0.1:10/"), true);
    assertEquals(await blocked("ws://localhost:9/"), true);
    await open(); // the studio itself reaches no broker at all
    assertEquals(await blocked("ws://127.0.0.1:9/"), true);
  });
});
