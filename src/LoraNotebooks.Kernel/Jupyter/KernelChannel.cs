using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>What a kernel tells its front ends: replies, outputs, states, questions.</summary>
internal sealed class KernelChannel(KernelSockets sockets, string? kernelId)
{
    private readonly string _session = Guid.NewGuid().ToString("N");
    private readonly BlockingCollection<string?> _answers = [];
    private readonly Lock _states = new();
    private JupyterMessage? _cell;

    /// <summary>The work that outputs follow: what pages ask about, and what their buttons may stop.</summary>
    public LiveRuns Runs { get; } = new();

    /// <summary>Tells all front ends something that belongs to a request.</summary>
    public void Publish(string type, JupyterMessage? request, JsonObject content) => sockets.Send(
        Channel.IOPub,
        JupyterMessage.Create(type, _session, request, content) with { Identities = [System.Text.Encoding.ASCII.GetBytes(type)] });

    /// <summary>Tells all front ends whether the kernel is <c>starting</c>, <c>busy</c> or <c>idle</c> with a request.</summary>
    public void PublishState(string state, JupyterMessage? request) => Publish("status", request, new JsonObject { ["execution_state"] = state });

    /// <summary>Tells all front ends that the kernel is new, and whether it is busy already.</summary>
    public void Greet()
    {
        lock (_states)
        {
            PublishState("starting", null);
            PublishState(_cell is null ? "idle" : "busy", _cell);
        }
    }

    /// <summary>Tells all front ends that the kernel is busy with a request.</summary>
    /// <param name="request">The request.</param>
    /// <param name="isCell">Whether it runs a cell: while it does, other requests come and go.</param>
    public void Begin(JupyterMessage request, bool isCell = false)
    {
        lock (_states)
        {
            _cell = isCell ? request : _cell;
            PublishState("busy", request);
        }
    }

    /// <summary>Tells all front ends that a request is done with, and, if a cell still runs, that the kernel is busy.</summary>
    /// <remarks>They show the last state that they heard.</remarks>
    public void End(JupyterMessage request)
    {
        lock (_states)
        {
            _cell = ReferenceEquals(_cell, request) ? null : _cell;
            PublishState("idle", request);
            if (_cell is { } cell)
            {
                PublishState("busy", cell);
            }
        }
    }

    /// <summary>Answers a request.</summary>
    public void Reply(Channel channel, JupyterMessage request, JsonObject content)
    {
        const string asked = "_request";
        var type = request.Type.EndsWith(asked, StringComparison.Ordinal) ? request.Type[..^asked.Length] + "_reply" : request.Type + "_reply";
        content.TryAdd("status", "ok");
        sockets.Send(channel, JupyterMessage.Create(type, _session, request, content));
    }

    /// <summary>Asks the front end that sent a request for a line, and waits for it.</summary>
    public string? AskForLine(JupyterMessage request)
    {
        // An answer to a question that was given up is none to this one.
        while (_answers.TryTake(out _))
        {
        }

        sockets.Send(Channel.Stdin, JupyterMessage.Create("input_request", _session, request, new JsonObject { ["prompt"] = "", ["password"] = false }));
        return _answers.Take();
    }

    /// <summary>Takes the answer of a front end.</summary>
    public void Answer(JupyterMessage reply) => _answers.Add(reply.Text("value"));

    /// <summary>A bundle as a page of a Jupyter front end shows it best.</summary>
    public MimeBundle ForPage(MimeBundle bundle, string displayId)
    {
        var output = Runs.Follow(displayId, bundle.Text(MimeTypes.Run));
        var page = PageScripts.ForPage(bundle.Limit(), new PageContext(displayId, kernelId, output?.Run.Id, output?.Version ?? 0));
        output?.Show(page.Text(MimeTypes.Html), isRunning: bundle.Types.Contains(MimeTypes.Run));
        return page;
    }
}
