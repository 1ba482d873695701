using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>The host of one cell: its displays and its console go to the front end as outputs of the request that ran it.</summary>
/// <remarks>Every cell has a host of its own, so that a background task of an earlier cell still reports to that cell.</remarks>
internal sealed class CellHost : INotebookHost
{
    private readonly JupyterMessage _request;
    private readonly KernelChannel _kernel;
    private readonly CSharpSession _session;
    private readonly StreamBuffer _streams;

    /// <summary>The host of a request.</summary>
    public CellHost(JupyterMessage request, KernelChannel kernel, CSharpSession session)
    {
        (_request, _kernel, _session) = (request, kernel, session);
        _streams = new StreamBuffer((name, text) => kernel.Publish("stream", request, new JsonObject { ["name"] = name, ["text"] = text }));
    }

    /// <inheritdoc/>
    public CancellationToken Cancellation => _session.Cancellation;

    /// <summary>Whether the front end can be asked for input.</summary>
    public bool AllowsInput => _request.Flag("allow_stdin", whenMissing: false);

    /// <summary>Whether it is the host of a request.</summary>
    public bool IsOf(JupyterMessage request) => ReferenceEquals(_request, request);

    /// <summary>Writes to the stream <c>stdout</c> or <c>stderr</c>.</summary>
    public void Write(string text, bool isError) => _streams.Write(isError ? "stderr" : "stdout", text);

    /// <summary>Sends what the cell wrote so far; whatever comes next stands below it.</summary>
    public void Flush() => _streams.Flush();

    /// <summary>Asks the front end for a line.</summary>
    public string? ReadLine()
    {
        if (!AllowsInput)
        {
            throw new InvalidOperationException(
                "The cell reads from the console, but this front end cannot ask for input. Give the value as a variable of the notebook.");
        }

        Flush();
        return _kernel.AskForLine(_request);
    }

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        var handle = new Handle(this, Guid.NewGuid().ToString("N"));
        handle.Send("display_data", bundle);
        return handle;
    }

    /// <inheritdoc/>
    public void Clear(bool wait = false)
    {
        Flush();
        _kernel.Publish("clear_output", _request, new JsonObject { ["wait"] = wait });
    }

    /// <inheritdoc/>
    public StopOffer OfferStop(Action stop) => _kernel.Runs.Add(stop);

    /// <summary>Sends the value of the cell.</summary>
    public void SendResult(MimeBundle bundle, int executionCount)
    {
        Flush();
        _kernel.Publish("execute_result", _request, new JsonObject
        {
            ["execution_count"] = executionCount,
            ["data"] = _kernel.ForPage(bundle, Guid.NewGuid().ToString("N")).ToJson(),
            ["metadata"] = new JsonObject(),
        });
    }

    /// <summary>Sends the error that ended the cell, or that came out of something it had started.</summary>
    public void SendError(CellError error)
    {
        Flush();
        _kernel.Publish("error", _request, ErrorOutput.Content(error));
    }

    private sealed class Handle(CellHost host, string id) : IDisplayHandle
    {
        public void Update(MimeBundle bundle)
        {
            ArgumentNullException.ThrowIfNull(bundle);
            Send("update_display_data", bundle);
        }

        public void Send(string type, MimeBundle bundle)
        {
            host.Flush();
            host._kernel.Publish(type, host._request, new JsonObject
            {
                ["data"] = host._kernel.ForPage(bundle, id).ToJson(),
                ["metadata"] = new JsonObject(),
                ["transient"] = new JsonObject { ["display_id"] = id },
            });
        }
    }
}
