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
  const place = (token, use, tries = 100) => {
    const found = [...document.querySelectorAll(`[data-lora="${token}"]`)].filter(element => !element.loraUsed);
    if (!found.length && tries) requestAnimationFrame(() => place(token, use, tries - 1));
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

  const stop = (offer, kernel) => new Promise((resolve, reject) => {
    const socket = new WebSocket(`${base.replace(/^http/, "ws")}api/kernels/${kernel}/channels`);
    const session = crypto.getRandomValues(new Uint32Array(4)).join("");
    socket.onerror = reject;
    socket.onopen = () => {
      socket.send(JSON.stringify({
        channel: "shell",
        header: { msg_id: session + "-1", session, username: "", date: new Date().toISOString(), msg_type: "comm_open", version: "5.3" },
        parent_header: {}, metadata: {}, buffers: [],
        content: { comm_id: session, target_name: "{target}", data: { id: offer } },
      }));
      setTimeout(() => { socket.close(); resolve(); }, 1000);
    };
  });

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
      stop(offer, kernel).catch(() => show("Stop (the kernel did not answer)", false));
    };
    show("Stop", false);
    return button;
  };

  const reachable = {};
  const reach = kernel => reachable[kernel] ??= fetch(`${base}api/kernels/${kernel}`).then(answer => answer.ok, () => false);

  return {
    chart: (token, id, figure) => place(token, element => getPlotly().then(library => draw(id, figure, library, element)).catch(() => {})),
    stop: (token, offer, kernel) => base && place(token, async element => {
      if (await reach(kernel) && element.isConnected) element.replaceChildren(keep(offer, () => makeButton(offer, kernel)));
    }),
  };
})()
