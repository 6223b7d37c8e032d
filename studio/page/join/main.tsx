/**
 * Begins the page by which a tab joins: takes the link, shows the page, then starts the engine.
 * @module
 */
import { render } from "preact";
import "../style/join.css";
import { startEngine } from "../engine.ts";
import { JoinApp } from "./join_app.tsx";
import { linkProblem, takeLink } from "./state.ts";

const root = document.getElementById("studio")!;

takeLink(); // before the worker is started, which inherits the page's policy
root.replaceChildren();
render(<JoinApp />, root);
if (linkProblem === null) startEngine(() => {}, { worksBesideOthers: true });
