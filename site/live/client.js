// The page's side of the thread: one job at a time; a newer one stops the older. A thread that is lost is started again.
const PATIENCE = 20; // beats of a second without a word before a thread that has a job counts as lost
const MOST_LOSSES = 3; // in a row; then no other is started

export class Engine {
  // models: name -> a function that gives the description of a network. The first is sent at once, others when asked for.
  constructor(source, models) {
    this.address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.models = models;
    this.first = Object.keys(models)[0];
    this.count = this.losses = 0;
    this.open();
    // Beats are counted, not time: a page that was put to sleep counts none.
    setInterval(() => { if (this.job && ++this.quiet > PATIENCE) this.lost("it no longer answers"); }, 1000);
  }

  open() {
    this.job = null;
    this.worker = new Worker(this.address);
    this.worker.onmessage = ({ data }) => this.hear(data);
    this.worker.onerror = event => { event.preventDefault(); this.lost(event.message || "it stopped"); };
    this.held = new Set([this.first]); // the networks that the thread is known to have
    this.ready = this.send({ do: "start", network: this.first, model: this.models[this.first]() });
    this.ready.then(() => { this.losses = 0; }, () => {}); // a failure is told by each job
  }

  // Resolves to the last message; heard(message) is called for each state. Rejects with a sentence. A job that names no
  // network is for the first; training needs none.
  async run(job, heard) {
    if (job.do === "train") return this.ready.catch(() => {}).then(() => this.send(job, heard));
    await this.ready;
    const { network = this.first } = job, model = this.held.has(network) ? null : this.models[network]();
    const done = await this.send({ ...job, network, model }, heard);
    if (!done.stopped) this.held.add(network);
    return done;
  }

  stop() {
    if (this.job) this.worker.postMessage({ id: ++this.count, do: "stop" });
  }

  send(job, heard = () => {}) {
    if (this.job) this.job.resolve({ stopped: true });
    const id = ++this.count;
    this.quiet = 0;
    return new Promise((resolve, reject) => {
      this.job = { id, heard, resolve, reject };
      this.worker.postMessage({ ...job, id });
    });
  }

  hear(message) {
    this.quiet = 0;
    if (!this.job || message.id !== this.job.id) return;
    if (message.state) return this.job.heard(message);
    const { resolve, reject } = this.job;
    this.job = null;
    if (message.error) reject(new Error(message.error));
    else resolve(message);
  }

  lost(reason) {
    const job = this.job, again = ++this.losses < MOST_LOSSES;
    this.worker.terminate();
    this.job = null;
    if (again) this.open();
    else this.ready = Promise.reject(new Error("The computing thread was lost three times. Load the page again."));
    this.ready.catch(() => {});
    if (job) job.reject(new Error(`The computing thread was lost (${reason}). ${again ? "A new one has started: run it again." : "Load the page again."}`));
  }
}
