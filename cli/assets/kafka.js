// Topics, records, groups and schemas, as the brokers and the registry tell them.
import { ask, clock, el, every, follow, heading, keyed, number, table } from "./page.js";

const REFRESH_MS = 5000;
const RECORDS_MAX = 200;

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;

export function topicsView(main, pipeline, choices, signal) {
  const list = el("div", {});
  const internal = el("input", { type: "checkbox", change: () => refresh() });
  main.append(el("div", { class: "controls" }, el("label", {}, internal, "Kafka's own topics too")), list);
  const refresh = async () => {
    const topics = await ask("/api/topics");
    if (!topics || signal.aborted) return;
    const shown = topics.filter((topic) => internal.checked || !topic.internal);
    if (shown.length === 0) list.replaceChildren(el("p", { class: "hint", "data-key": "" }, "There are no topics yet."));
    else keyed(list, shown, (topic) => topic.name, createTopic(pipeline), updateTopic);
  };
  every(REFRESH_MS, signal, refresh);
}

const createTopic = (pipeline) => (topic) => {
  const settings = el("div", {}, el("p", { class: "hint" }, "Settings …"));
  const details = el("details", { class: "card", open: topic.name === pipeline.topic },
    el("summary", {}, el("h2", {}, topic.name), el("span", { class: "facts" })), el("div", { class: "partitions" }), settings);
  const load = async () => {
    if (!details.open || details.dataset.loaded) return;
    if (!pipeline.settings) {
      settings.replaceChildren(el("p", { class: "hint" }, "Settings: librdkafka's mock cluster has none; candlectl demo --real shows those of real brokers."));
      return;
    }
    details.dataset.loaded = "yes";
    try {
      const answer = await (await fetch(`/api/topics/${encodeURIComponent(topic.name)}/settings`)).json();
      if (!Array.isArray(answer)) throw new Error(answer.problem);
      settings.replaceChildren(table("Settings: those of this topic first, then defaults", ["Setting", "Value", "From"],
        answer.map((setting) => [{ text: setting.name, class: "mono" }, { text: setting.value ?? "(hidden)", class: "mono wide" }, setting.own ? "this topic" : "default"])));
    } catch (error) {
      delete details.dataset.loaded;
      settings.replaceChildren(el("p", { class: "hint" }, `Settings: ${error.message}`));
    }
  };
  details.addEventListener("toggle", load);
  load();
  return details;
};

function updateTopic(details, topic) {
  const replicas = Math.min(...topic.partitions.map((partition) => partition.replicas.length));
  const facts = [plural(topic.partitions.length, "partition"), plural(replicas, "replica"), `${topic.records ?? "?"} records`];
  details.querySelector(".facts").replaceChildren(facts.join(" · "),
    topic.outOfSync > 0 ? el("b", { class: "bad" }, ` · ${topic.outOfSync} replicas out of sync`) : el("span", { class: "good" }, " · in sync"));
  details.querySelector(".partitions").replaceChildren(table("Partitions",
    ["Partition", "Leader", "Replicas", "In sync", heading("First offset"), heading("End offset"), heading("Records")],
    topic.partitions.map((partition) => [partition.id,
      partition.leader === null ? { text: "none", class: "bad" } : partition.leader, partition.replicas.join(", "),
      { text: partition.inSync.join(", "), class: partition.inSync.length < partition.replicas.length ? "bad" : "" },
      number(partition.first), number(partition.end), number(partition.end === null ? null : partition.end - partition.first)])));
}

export function recordsView(main, pipeline, choices, signal) {
  const topic = choices.get("topic") ?? pipeline.topic;
  const partition = choices.get("partition") ?? "";
  const go = (changes) => { location.hash = `records?${new URLSearchParams({ topic, partition, ...changes })}`; };
  const topics = el("select", { "aria-label": "Topic", change: (event) => go({ topic: event.target.value, partition: "" }) },
    el("option", { value: topic, selected: true }, topic));
  const partitions = el("select", { "aria-label": "Partition", change: (event) => go({ partition: event.target.value }) },
    el("option", { value: "" }, "all"), partition === "" ? null : el("option", { value: partition, selected: true }, partition));
  const key = el("input", { type: "search", placeholder: "key, as tBTCUSD", "aria-label": "Only records whose key contains", input: () => filter() });
  const pause = el("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const count = el("span", { class: "hint", role: "status" });
  const body = el("tbody", {});
  main.append(
    el("div", { class: "controls" }, el("label", {}, "Topic", topics), el("label", {}, "Partition", partitions), key, pause, count),
    el("section", { class: "card scroll records", tabindex: "0", "aria-label": "Records" }, el("table", {},
      el("thead", {}, el("tr", {}, ["Published (UTC)", "Partition", "Offset", "Key", "Value", "Headers"].map((name) => el("th", { scope: "col" }, name)))), body)));

  ask("/api/topics").then((answer) => {
    if (!answer || signal.aborted) return;
    for (const found of answer.filter((found) => !found.internal && found.name !== topic)) topics.append(el("option", { value: found.name }, found.name));
    const own = answer.find((found) => found.name === topic);
    for (const found of own?.partitions ?? []) if (String(found.id) !== partition) partitions.append(el("option", { value: found.id }, found.id));
  });

  let seen = 0, skipped = 0, paused = false;
  const visible = (row) => { row.hidden = key.value !== "" && !row.dataset.recordKey.includes(key.value); };
  const filter = () => [...body.children].forEach(visible);
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? "Go on" : "Pause";
  });
  const query = new URLSearchParams(partition === "" ? { topic } : { topic, partition });
  follow(`/api/records/live?${query}`, signal, {
    records(news) {
      seen += news.records.length + news.skipped;
      skipped += news.skipped;
      count.textContent = `${seen} records seen${skipped > 0 ? `, ${skipped} too fast to show` : ""}`;
      if (paused) return;
      const rows = news.records.map(recordRow).reverse();
      rows.forEach(visible);
      body.prepend(...rows);
      while (body.children.length > RECORDS_MAX) body.lastChild.remove();
    },
  });
}

function recordRow(record) {
  const value = {
    avro: () => [JSON.stringify(record.value), el("span", { class: "soft" }, ` schema ${record.schemaId}`)],
    mark: () => [el("span", { class: "warn" }, `mark: ${record.mark} ${clock(record.time)}`)],
    null: () => [el("span", { class: "soft" }, "no value")],
    raw: () => [record.value, el("span", { class: "bad" }, ` ${record.problem}`)],
  }[record.kind]();
  return el("tr", { class: "new", "data-record-key": record.key ?? "" },
    el("td", { class: "mono" }, clock(record.timestampMs).slice(11)), el("td", {}, record.partition), el("td", {}, record.offset),
    el("td", { class: "mono key" }, record.key ?? ""), el("td", { class: "mono wide" }, value),
    el("td", { class: "mono" }, record.headers.map(([name, text]) => `${name}=${text}`).join(", ")));
}

export function groupsView(main, pipeline, choices, signal) {
  const own = el("section", { class: "card" }, el("h2", {}, `${pipeline.group} on ${pipeline.topic}`), el("div", {}));
  const others = el("div", {});
  main.append(own, others);
  every(REFRESH_MS, signal, async () => {
    const answer = await ask("/api/groups");
    if (!answer || signal.aborted) return;
    const group = answer.groups.find((found) => found.id === answer.group);
    const owner = (partition) => group?.members.find((member) => member.assigned.some(([topic, id]) => topic === answer.topic && id === partition))?.clientId;
    const lag = answer.positions.reduce((sum, position) => sum + (position.lag ?? 0), 0);
    own.lastChild.replaceChildren(...(answer.positionsProblem
      ? [el("p", { class: "problem" }, answer.positionsProblem)]
      : [table(`${plural(lag, "record")} behind`, ["Partition", heading("Committed"), heading("End"), heading("Lag"), "Owner"],
        answer.positions.map((position) => [position.partition, number(position.committed ?? "none"), number(position.end), number(position.lag),
          owner(position.partition) ?? { text: answer.groupsProblem ? "not known" : "nobody", class: "soft" }]))]));
    if (answer.groupsProblem) {
      others.replaceChildren(el("p", { class: "hint", "data-key": "" }, answer.groupsProblem));
      return;
    }
    keyed(others, answer.groups, (found) => found.id, (found) => el("section", { class: "card" }, el("h2", {}, found.id), el("div", {})), (card, found) => {
      card.lastChild.replaceChildren(table(`${found.state}${found.assignor ? `, assignor ${found.assignor}` : ""}, ${plural(found.members.length, "member")}`,
        ["Client id", "Member id", "Host", "Assigned"],
        found.members.map((member) => [{ text: member.clientId, class: "mono" }, { text: member.id, class: "mono" }, { text: member.host, class: "mono" },
          member.assigned.map(([topic, id]) => `${topic} ${id}`).join(", ") || "nothing"])));
    });
  });
}

export function schemasView(main, pipeline, choices, signal) {
  const list = el("div", {});
  main.append(list);
  const pretty = (text) => { try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; } };
  every(6 * REFRESH_MS, signal, async () => {
    const subjects = await ask("/api/schemas");
    if (!subjects || signal.aborted) return;
    if (subjects.length === 0) {
      list.replaceChildren(el("p", { class: "hint", "data-key": "" }, "The registry holds no schemas yet; the producer registers its own at its start."));
      return;
    }
    keyed(list, subjects, (found) => found.subject, (found) => el("section", { class: "card" }, el("h2", {}, found.subject), el("p", { class: "hint" }), el("div", {})), (card, found) => {
      card.children[1].textContent = `compatibility ${found.compatibility ?? "as the registry's default"}, ${plural(found.versions.length, "version")}`;
      keyed(card.lastChild, found.versions, (version) => String(version.version), (version) =>
        el("details", { open: version.version === found.versions[0].version }, el("summary", {}, `version ${version.version} · id ${version.id}`), el("pre", { tabindex: "0" }, pretty(version.schema))), () => {});
    });
  });
}
