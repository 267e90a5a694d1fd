// Ask: a conversation in the middle, the others at the left, its settings at the right.

import { button, h } from "../dom.js";
import { sentenceOf, serverNow, watchServer } from "../server.js";
import * as talk from "./conversation.js";
import { listView } from "./list.js";
import { faults, requestFor } from "./request.js";
import { settingsView } from "./settings.js";
import * as store from "./store.js";
import { follow } from "./stream.js";
import { turnView } from "./thread.js";

const SAVE_EVERY_MS = 500;
const KEPT_SETTINGS = "minivault.settings";

export function askView() {
  let conversations = [];
  let current = talk.newConversation(keptSettings());
  let running = null;
  let views = new Map();
  let saved = 0;

  const settings = settingsView(changeSetting, () => closeDrawer("settings"));
  const list = listView({ open, create, remove, removeAll, bring, close: () => closeDrawer("conversations") });
  const thread = h("div", { class: "thread", id: "thread" });
  const said = h("p", { class: "visually-hidden", role: "status" });
  const prompt = h("textarea", { id: "prompt", rows: 3, placeholder: "Ask something", "aria-describedby": "prompt-hint prompt-fault", onkeydown: keys });
  const fault = h("p", { class: "fault", id: "prompt-fault", role: "alert", hidden: true });
  const ask = h("button", { class: "primary", id: "send" }, "Ask");
  const stop = button("Stop", halt, { id: "stop", hidden: true });
  const title = h("input", { class: "name", "aria-label": "Title", maxlength: 120, onchange: rename });
  const drawer = (id, label) => button(label, (event) => toggle(id, event.currentTarget), { "aria-expanded": "false", "aria-controls": id, class: `quiet ${id}-toggle` });
  const element = h("div", { class: "ask" }, list.element,
    h("div", { class: "talk" },
      h("div", { class: "row bar" }, drawer("conversations", "Conversations"), title, drawer("settings", "Settings")),
      thread, said,
      h("form", { class: "composer", onsubmit: submit }, h("label", { for: "prompt", class: "visually-hidden" }, "Prompt"), prompt, fault,
        h("div", { class: "row" }, h("span", { class: "hint", id: "prompt-hint" }, "Ctrl-Enter sends, Escape stops"), stop, ask))),
    settings.element);

  // -- what is done -------------------------------------------------------------------------------------------------

  async function submit(event) {
    event?.preventDefault();
    const text = prompt.value;
    if (running || !text.trim() || !isSound()) return;
    prompt.value = "";
    await answerTo(talk.newTurn(text));
  }

  async function answerTo(turn) {
    current.turns.push(turn);
    await drawAnswers(turn, Number(current.settings.draws ?? 1));
  }

  async function drawAnswers(turn, number) {
    const first = turn.answers.length;
    turn.answers.push(...Array.from({ length: number }, talk.newAnswer));
    turn.chosen = first;
    if (!conversations.includes(current)) conversations.unshift(current);
    const [here, controller] = [current, new AbortController()];
    running = { conversation: here, controller };
    draw();
    keep(here);
    said.textContent = "Asking";
    await Promise.all(turn.answers.slice(first).map((answer, index) => {
      const request = requestFor(here, here.turns, { draw: first + index, model: serverNow()?.model });
      return follow(answer, request, controller.signal, () => { views.get(turn)?.draw(answer); scrollDown(); keepSoon(here); });
    }));
    running = null;
    await keep(here);
    said.textContent = `Answer ended. ${turn.answers[first].text.slice(0, 200)}`;
    if (here === current) draw();
    pointAtFault(turn.answers[first]);
  }

  function edit(turn, text) {
    if (running || !isSound()) return;
    current.turns.splice(current.turns.indexOf(turn));
    answerTo(talk.newTurn(text));
  }

  function regenerate(turn) {
    if (!running && isSound()) drawAnswers(turn, 1);
  }

  function choose(turn, index) {
    turn.chosen = index;
    keep(current);
    draw();
  }

  function giveResults(results) {
    if (!running && isSound()) answerTo(talk.newTurn(results.map(({ name, content }) => `${name}: ${content}`).join("\n"), results));
  }

  function halt() {
    running?.controller.abort();
  }

  // -- what is wrong ------------------------------------------------------------------------------------------------

  function isSound() {
    const found = Object.entries(faults(current.settings));
    for (const [name, words] of found) settings.mark(name, words);
    if (found.length) showFault(found[0][0]);
    return !found.length;
  }

  function showFault(name) {
    openDrawer("settings");
    settings.focus(name);
  }

  /** A refusal that names a field is said at the field, and the prompt is given back to be sent again. */
  function pointAtFault(answer) {
    const name = answer.error?.field?.split(".")[0];
    const known = { response_format: "format", messages: "prompt", max_completion_tokens: "max_tokens" }[name] ?? name;
    if (!known) return;
    if (settings.has(known)) {
      settings.mark(known, answer.error.message);
      showFault(known);
    } else {
      fault.textContent = answer.error.message;
      fault.hidden = false;
      prompt.setAttribute("aria-invalid", "true");
    }
  }

  function clearFault() {
    fault.hidden = true;
    prompt.removeAttribute("aria-invalid");
  }

  // -- conversations ------------------------------------------------------------------------------------------------

  function open(conversation) {
    current = conversation;
    closeDrawer("conversations");
    draw();
    thread.scrollTop = thread.scrollHeight;
  }

  function create() {
    open(talk.newConversation(keptSettings()));
    prompt.focus();
  }

  async function remove(conversation) {
    if (running?.conversation === conversation) halt();
    await store.remove(conversation.id);
    conversations = conversations.filter((one) => one !== conversation);
    if (conversation === current) create();
    else list.draw(conversations, current);
  }

  async function removeAll() {
    halt();
    await store.removeAll();
    conversations = [];
    create();
  }

  async function bring(brought) {
    for (const one of brought) {
      one.settings = { ...keptSettings(), ...one.settings };
      await store.save(one);
    }
    conversations = [...brought, ...conversations];
    open(brought[0]);
  }

  function rename() {
    current.title = title.value.trim();
    if (conversations.includes(current)) keep(current);
    list.draw(conversations, current);
  }

  function changeSetting(name, value) {
    current.settings = { ...current.settings, [name]: value };
    localStorage.setItem(KEPT_SETTINGS, JSON.stringify(current.settings));
    if (conversations.includes(current)) keep(current);
  }

  function keptSettings() {
    try {
      return JSON.parse(localStorage.getItem(KEPT_SETTINGS)) ?? {};
    } catch {
      return {};
    }
  }

  async function keep(conversation) {
    if (!conversations.includes(conversation)) return;
    saved = Date.now();
    conversation.updated = saved;
    await store.save(structuredClone(conversation)).catch((error) => { said.textContent = `Not saved: ${error.message}`; });
  }

  function keepSoon(conversation) {
    if (Date.now() - saved > SAVE_EVERY_MS) keep(conversation);
  }

  // -- what is seen -------------------------------------------------------------------------------------------------

  function draw() {
    const isIdle = !running;
    const on = { edit, choose, giveResults, regenerate: isIdle ? regenerate : null };
    views = new Map(current.turns.map((turn, index) =>
      [turn, turnView(turn, { isLast: index === current.turns.length - 1, isIdle, on })]));
    thread.replaceChildren(...(current.turns.length ? [...views.values()].map((view) => view.element) : [welcome()]));
    ask.hidden = !isIdle;
    stop.hidden = isIdle;
    title.value = talk.titleOf(current);
    settings.fill(current.settings);
    list.draw(conversations, current);
    scrollDown(true);
  }

  function welcome() {
    const line = h("p", { class: "hint" });
    const stopWatching = watchServer((facts) => { line.isConnected || !line.textContent ? line.textContent = sentenceOf(facts) : stopWatching(); });
    return h("div", { class: "welcome" }, h("h2", {}, "Private, offline, on the record"),
      h("p", {}, "Every answer is kept in this server's vault and can be verified and run again, bit for bit."), line);
  }

  /** Follows the answer while its end is in sight. */
  function scrollDown(always = false) {
    const isNear = thread.scrollHeight - thread.scrollTop - thread.clientHeight < 120;
    if (always || isNear) thread.scrollTop = thread.scrollHeight;
  }

  function toggle(id, opener) {
    const isOpen = element.classList.toggle(`${id}-open`);
    opener.setAttribute("aria-expanded", String(isOpen));
  }

  function openDrawer(id) {
    element.classList.add(`${id}-open`);
    element.querySelector(`.${id}-toggle`).setAttribute("aria-expanded", "true");
  }

  function closeDrawer(id) {
    element.classList.remove(`${id}-open`);
    element.querySelector(`.${id}-toggle`).setAttribute("aria-expanded", "false");
  }

  function keys(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) submit(event);
    clearFault();
  }

  document.addEventListener("keydown", (event) => { if (event.key === "Escape" && !document.querySelector("dialog")) halt(); });
  addEventListener("pagehide", () => { if (running) store.leave(running.conversation); });
  draw();
  store.all().then((found) => {
    conversations = [...conversations, ...found];
    for (const conversation of found) if (talk.settle(conversation)) store.save(conversation);
    if (found.length && !current.turns.length) open(found[0]);
    else list.draw(conversations, current);
  }, (error) => { said.textContent = `Conversations cannot be kept here: ${error.message}`; });

  return { element, focus: () => prompt.focus() };
}
