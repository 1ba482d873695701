using System.Text;
using System.Text.Json.Nodes;
using LoraNotebooks.Interactive;
using LoraNotebooks.Kernel.Notebooks;
using LoraNotebooks.Kernel.Sessions;

namespace LoraNotebooks.Kernel.Running;

/// <summary>Collects the outputs of one cell in nbformat's layout, from any thread, also after the cell has ended.</summary>
/// <remarks>Every cell has a host of its own, so that a background task of an earlier cell still reports to that cell.</remarks>
internal sealed class CellOutputs(Action<string, bool> streamed, Action<string> displayed) : INotebookHost
{
    private const int MaximumStreamLength = 1_000_000;

    private readonly Lock _gate = new();
    private readonly List<Entry> _outputs = [];
    private int _streamLength;

    /// <summary>Adds text to the stream <c>stdout</c> or <c>stderr</c>; text of the same stream in a row becomes one output.</summary>
    public void Write(string text, bool isError)
    {
        streamed(text, isError);
        lock (_gate)
        {
            var room = MaximumStreamLength - _streamLength;
            if (room <= 0)
            {
                return;
            }

            _streamLength += text.Length;
            var kept = text.Length <= room ? text : text[..room] + "\n… the rest is not kept in the notebook.\n";
            var name = isError ? "stderr" : "stdout";
            if (_outputs is not [.., { Text: { } last } entry] || (string?)entry.Json["name"] != name)
            {
                last = new StringBuilder();
                _outputs.Add(new Entry(new JsonObject { ["name"] = name, ["output_type"] = "stream", ["text"] = "" }, last));
            }

            last.Append(kept);
        }
    }

    /// <inheritdoc/>
    public IDisplayHandle Display(MimeBundle bundle)
    {
        ArgumentNullException.ThrowIfNull(bundle);
        var output = new JsonObject { ["data"] = bundle.ToJson(), ["metadata"] = new JsonObject(), ["output_type"] = "display_data" };
        lock (_gate)
        {
            _outputs.Add(new Entry(output));
        }

        Announce(bundle);
        return new Handle(this, output);
    }

    /// <summary>Adds the value of the cell's last expression.</summary>
    public void AddResult(MimeBundle bundle, int executionCount)
    {
        lock (_gate)
        {
            _outputs.Add(new Entry(new JsonObject
            {
                ["data"] = bundle.ToJson(),
                ["execution_count"] = executionCount,
                ["metadata"] = new JsonObject(),
                ["output_type"] = "execute_result",
            }));
        }
    }

    /// <summary>Adds the error that ended the cell.</summary>
    public void AddError(CellError error)
    {
        lock (_gate)
        {
            _outputs.Add(new Entry(new JsonObject
            {
                ["ename"] = error.Name,
                ["evalue"] = error.Message,
                ["output_type"] = "error",
                ["traceback"] = new JsonArray([.. error.Traceback.Select(line => (JsonNode)line)]),
            }));
        }
    }

    /// <summary>The outputs as they are now.</summary>
    public IReadOnlyList<JsonObject> Snapshot()
    {
        lock (_gate)
        {
            return [.. _outputs.Select(entry => entry.ToJson())];
        }
    }

    private void Announce(MimeBundle bundle) => displayed(bundle.Text(MimeTypes.PlainText) ?? "");

    /// <summary>An output; of a stream the text is collected apart, since it comes in many small pieces.</summary>
    private sealed record Entry(JsonObject Json, StringBuilder? Text = null)
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
                output["data"] = bundle.ToJson();
            }

            owner.Announce(bundle);
        }
    }
}
