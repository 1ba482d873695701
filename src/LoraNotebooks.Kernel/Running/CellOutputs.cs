using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Collects the outputs of one cell in nbformat's layout, from any thread, also after the cell has ended.</summary>
/// <remarks>Every cell has a host of its own, so that a background task of an earlier cell still reports to that cell.</remarks>
/// <param name="number">The number of the cell among those that hold code, from 1.</param>
/// <param name="streamed">Told of text on a console stream; true for stderr.</param>
/// <param name="displayed">Told of the plain text of what is shown.</param>
/// <param name="cancellation">The token of the running cell.</param>
internal sealed class CellOutputs(int number, Action<string, bool> streamed, Action<string> displayed, Func<CancellationToken>? cancellation = null)
    : INotebookHost
{
    private const int MaximumStreamLength = 1_000_000;

    private readonly Lock _gate = new();
    private readonly List<Entry> _outputs = [];
    private int _streamLength;
    private bool _streamIsFull;
    private bool _clearsBeforeNext;
    private bool _changed = true;

    /// <summary>The number of the cell among those that hold code, from 1.</summary>
    public int Number => number;

    /// <inheritdoc/>
    public CancellationToken Cancellation => cancellation?.Invoke() ?? CancellationToken.None;

    /// <summary>Adds text to the stream <c>stdout</c> or <c>stderr</c>; text of the same stream in a row becomes one output.</summary>
    public void Write(string text, bool isError)
    {
        streamed(text, isError);
        lock (_gate)
        {
            ClearIfAsked();
            if (_streamIsFull)
            {
                return;
            }

            var name = isError ? "stderr" : "stdout";
            if (_outputs is not [.., { Text: { } last } entry] || (string?)entry.Json["name"] != name)
            {
                last = new TerminalText();
                _outputs.Add(new Entry(new JsonObject { ["name"] = name, ["output_type"] = "stream", ["text"] = "" }, last));
            }

            var (before, room) = (last.Length, MaximumStreamLength - _streamLength);
            last.Append(text.AsSpan(0, Math.Min(text.Length, room)));
            _streamLength += last.Length - before;
            _streamIsFull = text.Length > room;
            if (_streamIsFull)
            {
                last.Append("\n… the rest is not kept in the notebook.\n");
            }

            _changed = true;
        }
    }

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        var output = new JsonObject { ["data"] = Stored(bundle), ["metadata"] = new JsonObject(), ["output_type"] = "display_data" };
        Add(output);
        Announce(bundle);
        return new Handle(this, output);
    }

    /// <inheritdoc/>
    public void Clear(bool wait = false)
    {
        lock (_gate)
        {
            _clearsBeforeNext = true;
            if (!wait)
            {
                ClearIfAsked();
            }
        }
    }

    /// <summary>Adds the value of the cell's last expression.</summary>
    public void AddResult(MimeBundle bundle, int executionCount) => Add(new JsonObject
    {
        ["data"] = Stored(bundle),
        ["execution_count"] = executionCount,
        ["metadata"] = new JsonObject(),
        ["output_type"] = "execute_result",
    });

    /// <summary>Adds the error that ended the cell, or that came out of something it had started.</summary>
    public void AddError(CellError error)
    {
        var output = ErrorOutput.Content(error);
        output["output_type"] = "error";
        Add(output);
    }

    /// <summary>The outputs as they are now, if they changed since the last call; otherwise null.</summary>
    public IReadOnlyList<JsonObject>? TakeChanges()
    {
        lock (_gate)
        {
            if (!_changed)
            {
                return null;
            }

            _changed = false;
            return [.. _outputs.Select(entry => entry.ToJson())];
        }
    }

    private void Add(JsonObject output)
    {
        lock (_gate)
        {
            ClearIfAsked();
            _outputs.Add(new Entry(output));
            _changed = true;
        }
    }

    private void ClearIfAsked()
    {
        if (_clearsBeforeNext)
        {
            _outputs.Clear();
            (_clearsBeforeNext, _streamIsFull, _streamLength, _changed) = (false, false, 0, true);
        }
    }

    private static JsonObject Stored(MimeBundle bundle) => bundle.Stored().Limit().ToJson();

    private void Announce(MimeBundle bundle) => displayed(bundle.Text(MimeTypes.PlainText) ?? "");

    /// <summary>An output; of a stream the text is collected apart, since it comes in many small pieces.</summary>
    private sealed record Entry(JsonObject Json, TerminalText? Text = null)
    {
        public JsonObject ToJson()
        {
            var json = (JsonObject)Json.DeepClone();
            if (Text is not null)
            {
                json["text"] = Notebook.SplitText(Text.ToString());
            }

            return json;
        }
    }

    private sealed class Handle(CellOutputs owner, JsonObject output) : IDisplayHandle
    {
        public void Update(MimeBundle bundle)
        {
            ArgumentNullException.ThrowIfNull(bundle);
            lock (owner._gate)
            {
                output["data"] = Stored(bundle);
                owner._changed = true;
            }

            owner.Announce(bundle);
        }
    }
}
