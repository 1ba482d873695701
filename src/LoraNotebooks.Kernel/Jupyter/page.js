// Runs in the page beside an output: turns the picture of a chart into the chart, and a stop offer into a button.
// Each output carries this text, without its comments; the first one that runs makes the functions for the whole page.
(() => {
  // Jupyter replaces an output's whole DOM at every update. The nodes that must outlive this are kept by name;
  // weakly, so that what has left the document for good is forgotten.
  const kept = new Map();
  const keep = (name, make) => {
    let node = kept.get(name)?.deref();
    // A node that is still shown belongs to another view of the same output.
    if (node && !node.isConnected) return node;
    for (const [other, reference] of kept) if (!reference.deref()) kept.delete(other);
    node = make();
    kept.set(name, new WeakRef(node));
    return node;
  };

  // A script may run before its output stands in the document.
  const place = (token, use, key = "lora", tries = 100) => {
    const found = [...document.querySelectorAll(`[data-${key}="${token}"]`)].filter(element => !element.loraUsed);
    if (!found.length && tries) requestAnimationFrame(() => place(token, use, key, tries - 1));
    for (const element of found) {
      element.loraUsed = true;
      use(element);
    }
  };

  // JupyterLab and Notebook 7 say where their server is in a JSON element, Notebook 6 in its body; other pages have none.
  const settings = document.getElementById("jupyter-config-data");
  const path = settings ? JSON.parse(settings.textContent).baseUrl : document.body.dataset.baseUrl;
  const base = path && new URL(path.replace(/\/?$/, "/"), location.origin).href;

  // The bundle is run with an "exports" of its own and without "define": no module loader of the page gets in its way,
  // and a Plotly of another version stays what it is.
  const load = async (url, options) => {
    const answer = await fetch(url, options);
    if (!answer.ok) throw answer.status;
    const script = document.createElement("script");
    script.textContent = `((exports,module,define)=>{${await answer.text()}\n})(document.currentScript.loraExports={})`;
    document.head.append(script);
    script.remove();
    if (!script.loraExports?.Plotly) throw url;
    return script.loraExports.Plotly;
  };
  const fromNet = () => load("{cdn}", { integrity: "{integrity}" });
  let plotly;
  const getPlotly = () => plotly ??= base ? load(base + "{local}").catch(fromNet) : fromNet();

  const draw = (id, figure, library, element) => {
    if (!element.isConnected) return;
    const picture = [...element.childNodes];
    const width = element.querySelector("img")?.getAttribute("width");
    const node = keep(id, () => {
      const made = document.createElement("div");
      new ResizeObserver(() => made.offsetWidth && made.data && library.Plots.resize(made)).observe(made);
      return made;
    });
    node.style.maxWidth = width ? width + "px" : "";
    element.replaceChildren(node);
    const layout = {
      uirevision: id, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
      modebar: { bgcolor: "transparent", color: "#9aa0a8", activecolor: "#3b82d6" },
      ...figure.layout,
      font: { color: "#7d828a", ...figure.layout?.font }, autosize: true,
    };
    library.react(node, figure.data, layout, { ...figure.config, responsive: false }).catch(() => element.replaceChildren(...picture));
  };

  // Asks the kernel about a run. A new connection may miss the first answer, so the question is repeated, without its order to stop.
  const ask = async (kernel, question) => {
    if (!base || !kernel || !await fetch(`${base}api/kernels/${kernel}`).then(answer => answer.ok, () => true)) throw "gone";
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`${base.replace(/^http/, "ws")}api/kernels/${kernel}/channels`);
      const session = crypto.getRandomValues(new Uint32Array(4)).join("");
      let sent = 0, timer;
      const send = data => socket.send(JSON.stringify({
        channel: "shell",
        header: { msg_id: `${session}-${++sent}`, session, username: "", date: new Date().toISOString(), msg_type: "comm_open", version: "5.3" },
        parent_header: {}, metadata: {}, buffers: [],
        content: { comm_id: session, target_name: "{target}", data },
      }));
      const end = (finish, value) => {
        clearInterval(timer);
        socket.onclose = null;
        socket.close();
        finish(value);
      };
      socket.onerror = socket.onclose = () => end(reject);
      socket.onopen = () => {
        send(question);
        timer = setInterval(() => sent < 15 ? send({ ...question, stop: false }) : end(reject), 1000);
      };
      socket.onmessage = event => {
        if (typeof event.data !== "string" || !event.data.includes(session)) return;
        const { header, content } = JSON.parse(event.data);
        if (header.msg_type === "comm_msg" && content.comm_id === session) end(resolve, content.data);
      };
    });
  };

  const makeButton = (offer, kernel) => {
    const button = document.createElement("button");
    const show = (text, pressed) => {
      button.textContent = text;
      button.disabled = pressed;
      button.style.opacity = pressed ? 0.6 : 1;
    };
    button.style.cssText = "padding:3px 14px;border:1px solid #d9534f;border-radius:6px;background:transparent;color:#d9534f;font:600 13px system-ui,sans-serif;cursor:pointer";
    // The output is replaced several times a second: between press and release of a click the button may have moved.
    button.onpointerdown = button.onclick = event => {
      if (button.disabled || event.button) return;
      show("Stopping …", true);
      const ended = () => show("this run has ended", true);
      ask(kernel, { id: offer, stop: true }).then(
        answer => answer.state === "running" || ended(),
        reason => reason === "gone" ? ended() : show("Stop (the kernel did not answer)", false));
    };
    show("Stop", false);
    return button;
  };

  const reachable = {};
  const reach = kernel => reachable[kernel] ??= fetch(`${base}api/kernels/${kernel}`).then(answer => answer.ok, () => false);

  // What the kernel last said of each run ("isOn"), and the version in which the page shows each of its outputs ("have").
  const runs = {};
  // JupyterLab takes cells that are out of sight out of the document and puts the same nodes back later: they are known weakly.
  const known = new Map();
  const outputs = name => {
    const shown = [...document.querySelectorAll(`[data-lora-output="${name}"]`)];
    if (!shown.length) return [known.get(name)?.deref()].filter(node => node?.parentNode);
    known.set(name, new WeakRef(shown.at(-1)));
    return shown;
  };
  const say = (run, output) => {
    for (const chip of output.querySelectorAll("[data-lora-state]")) chip.firstElementChild.textContent = run.isOn ? chip.dataset.loraState : "{saved}";
    if (!run.isOn) for (const button of output.querySelectorAll("button")) if (button.textContent !== "this run has ended") button.remove();
  };
  const sayAll = run => Object.keys(run.have).flatMap(outputs).forEach(output => say(run, output));

  // Shows what the page has missed: after a reload Jupyter drops the updates of a cell that is running.
  const show = (run, { name, version, html }) => {
    let places = outputs(name);
    const last = Object.keys(run.have).flatMap(outputs).at(-1);
    if (!places.length && last && run.missed.has(name)) {
      places = [document.createElement("div")];
      last.after(places[0]);
    }
    run.missed.add(name);
    if (!places.length) return;
    run.have[name] = version;
    for (const old of places) {
      const template = document.createElement("template");
      template.innerHTML = html;
      const made = template.content.firstElementChild;
      old.replaceWith(made);
      known.set(name, new WeakRef(made));
      for (const script of made.querySelectorAll("script")) {
        const again = document.createElement("script");
        again.textContent = script.textContent;
        script.replaceWith(again);
      }
    }
  };

  const check = async run => {
    if (run.isAsked) return;
    run.isAsked = true;
    let answer, reason;
    if (base) await ask(run.kernel, { id: run.id, have: run.have }).then(said => answer = said, fault => reason = fault);
    // Where no server can be asked, what was drawn a moment ago is live.
    else if (Date.now() - run.at < 60000) answer = { state: "running" };
    run.isAsked = false;
    run.isOn = answer?.state === "running";
    const missed = answer?.outputs ?? [];
    // A page that draws the updates by itself is only slower than the answer.
    const isIdle = performance.now() - run.heard > 3000;
    run.isOurs = true;
    if (isIdle) for (const output of missed) show(run, output);
    run.isOurs = false;
    sayAll(run);
    if (!Object.keys(run.have).some(name => outputs(name).length)) return;
    const isLeft = missed.some(output => run.have[output.name] !== output.version);
    if (run.isOn || isLeft || (base && !answer && reason !== "gone")) later(run, isIdle && missed.length ? 1000 : 3500);
  };
  const later = (run, wait) => {
    clearTimeout(run.timer);
    run.timer = setTimeout(() => check(run), wait);
  };

  const calls = {
    chart: (token, id, figure) => place(token, element => getPlotly().then(library => draw(id, figure, library, element)).catch(() => {})),
    stop: (token, offer, kernel) => base && place(token, async element => {
      if (await reach(kernel) && element.isConnected) element.replaceChildren(keep(offer, () => makeButton(offer, kernel)));
    }),
    run: (name, version, id, kernel, at) => {
      const run = runs[id] ??= { id, kernel, have: {}, missed: new Set() };
      run.have[name] = version;
      run.at = at;
      if (!run.isOurs) {
        run.heard = performance.now();
        later(run, run.isOn ? 3500 : 0);
      }
      place(name, output => {
        outputs(name);
        if (run.isOn !== undefined) say(run, output);
      }, "lora-output");
    },
  };
  // One output may make several calls, one after the other.
  const page = {};
  for (const name in calls) page[name] = (...values) => (calls[name](...values), page);
  return page;
})()
