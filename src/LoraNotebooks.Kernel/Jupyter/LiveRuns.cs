using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The work that outputs follow while it goes on: pages ask how it stands, get what they missed, and stop it.</summary>
/// <remarks>A page that was loaded again hears nothing of the updates of a cell that is running; what it asks for here is its only way to them.</remarks>
internal sealed class LiveRuns
{
    /// <summary>The name under which the page opens a comm to ask.</summary>
    public const string CommTarget = "lora-notebooks.run";

    /// <summary>The most ended runs whose last outputs are kept for pages that come back.</summary>
    private const int MostEnded = 8;

    private readonly Lock _gate = new();
    private readonly Dictionary<string, Run> _runs = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Output> _outputs = new(StringComparer.Ordinal);
    private readonly Queue<Run> _ended = new();

    /// <summary>A new run that can be stopped.</summary>
    public StopOffer Add(Action stop)
    {
        var run = new Run(Guid.NewGuid().ToString("N"), this) { Stop = stop };
        lock (_gate)
        {
            _runs[run.Id] = run;
        }

        return new StopOffer(run.Id, () => Withdraw(run));
    }

    /// <summary>The output of a run, drawn once more; null if a display belongs to none.</summary>
    /// <param name="displayId">The display.</param>
    /// <param name="runId">The run that its content names; null in its last form and in displays without a run.</param>
    public Output? Follow(string displayId, string? runId)
    {
        lock (_gate)
        {
            if (!_outputs.TryGetValue(displayId, out var output) && runId is not null && _runs.TryGetValue(runId, out var run))
            {
                output = _outputs[displayId] = new Output(displayId, run);
                run.Outputs.Add(output);
            }

            if (output is not null)
            {
                output.Version++;
            }

            return output;
        }
    }

    /// <summary>
    /// Answers a page: <c>running</c>, <c>ended</c> or <c>unknown</c>, and the outputs that it has not in their last form.
    /// A question with <c>stop</c> also stops the run, on a thread of its own.
    /// </summary>
    /// <param name="question"><c>id</c> of the run, <c>have</c>: the versions that the page shows by display, <c>stop</c>.</param>
    public JsonObject Answer(JsonObject question)
    {
        var id = question["id"] is JsonValue value && value.TryGetValue(out string? text) ? text : "";
        var wantsStop = question["stop"] is JsonValue stop && stop.TryGetValue(out bool isStop) && isStop;
        var have = question["have"] as JsonObject;
        Action? action = null;
        JsonObject answer;
        lock (_gate)
        {
            if (!_runs.TryGetValue(id, out var run))
            {
                return new JsonObject { ["state"] = "unknown" };
            }

            action = wantsStop ? run.Stop : null;
            var missed = have is null
                ? []
                : run.Outputs.Where(output =>
                    output.Html is not null && !(have[output.Name] is JsonValue shown && shown.TryGetValue(out int version) && version >= output.Shown));
            answer = new JsonObject
            {
                ["state"] = run.IsGoingOn ? "running" : "ended",
                ["outputs"] = new JsonArray(
                    [.. missed.Select(output => (JsonNode)new JsonObject { ["name"] = output.Name, ["version"] = output.Shown, ["html"] = output.Html })]),
            };
        }

        if (action is not null)
        {
            _ = Task.Run(action);
        }

        return answer;
    }

    private void Withdraw(Run run)
    {
        lock (_gate)
        {
            run.Stop = null;
            ForgetOldest(run);
        }
    }

    private void ForgetOldest(Run run)
    {
        if (run.IsGoingOn || _ended.Contains(run))
        {
            return;
        }

        _ended.Enqueue(run);
        while (_ended.Count > MostEnded)
        {
            var oldest = _ended.Dequeue();
            _runs.Remove(oldest.Id);
            oldest.Outputs.ForEach(output => _outputs.Remove(output.DisplayId));
        }
    }

    /// <summary>One piece of work.</summary>
    internal sealed class Run(string id, LiveRuns runs)
    {
        /// <summary>Names it in the page.</summary>
        public string Id => id;

        /// <summary>Stops it; null when there is nothing left to stop.</summary>
        public Action? Stop { get; set; }

        /// <summary>What it has shown.</summary>
        public List<Output> Outputs { get; } = [];

        /// <summary>Whether it can be stopped or one of its outputs is still to come in its last form.</summary>
        public bool IsGoingOn => Stop is not null || Outputs.Exists(output => output.IsRunning);

        /// <summary>The runs that it is one of.</summary>
        public LiveRuns Runs => runs;
    }

    /// <summary>One output of a run.</summary>
    internal sealed class Output(string displayId, Run run)
    {
        /// <summary>The display.</summary>
        public string DisplayId => displayId;

        /// <summary>What the page knows it by.</summary>
        public string Name { get; } = PageScripts.Token(displayId);

        /// <summary>The run.</summary>
        public Run Run => run;

        /// <summary>How often it was drawn.</summary>
        public int Version { get; set; }

        /// <summary>The version that <see cref="Html"/> is.</summary>
        public int Shown { get; private set; }

        /// <summary>Its content for a page.</summary>
        public string? Html { get; private set; }

        /// <summary>Whether it will change again.</summary>
        public bool IsRunning { get; private set; }

        /// <summary>Keeps what was drawn.</summary>
        public void Show(string? html, bool isRunning)
        {
            lock (run.Runs._gate)
            {
                (Html, IsRunning, Shown) = (html, isRunning, Version);
                run.Runs.ForgetOldest(run);
            }
        }
    }
}
