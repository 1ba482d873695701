using System.Text.Json.Nodes;
using LoraNotebooks.Kernel.Assistance;
using Microsoft.CodeAnalysis;

namespace LoraNotebooks.Kernel.Jupyter;

/// <summary>Completion, inspection and completeness, in the protocol's words.</summary>
internal sealed class EditingHelp(string baseFolder) : IDisposable
{
    private readonly CodeAssistant _assistant = new(baseFolder);

    /// <summary>Learns of a cell that later requests can see.</summary>
    public void Add(string code, IEnumerable<MetadataReference> references) => _assistant.Add(code, references);

    /// <summary>Loads what the first request needs.</summary>
    public Task WarmUpAsync(CancellationToken cancellation) => _assistant.WarmUpAsync(cancellation);

    /// <summary>Answers a <c>complete_request</c>.</summary>
    public async Task<JsonObject> CompleteAsync(JupyterMessage request)
    {
        var (code, position) = CodeAndCursor(request);
        var reply = await _assistant.CompleteAsync(code, position, CancellationToken.None).ConfigureAwait(false);
        var (start, end) = (TextPositions.FromIndex(code, reply.Start), TextPositions.FromIndex(code, reply.End));
        return new JsonObject
        {
            ["matches"] = new JsonArray([.. reply.Matches.Select(match => (JsonNode)match.Text)]),
            ["cursor_start"] = start,
            ["cursor_end"] = end,
            ["metadata"] = new JsonObject
            {
                // What JupyterLab shows beside each proposal.
                ["_jupyter_types_experimental"] = new JsonArray([.. reply.Matches.Select(match => (JsonNode)new JsonObject
                {
                    ["text"] = match.Text,
                    ["type"] = match.Kind,
                    ["signature"] = match.Signature,
                    ["start"] = start,
                    ["end"] = end,
                })]),
            },
        };
    }

    /// <summary>Answers an <c>inspect_request</c>.</summary>
    public async Task<JsonObject> InspectAsync(JupyterMessage request)
    {
        var (code, position) = CodeAndCursor(request);
        var found = await _assistant
            .InspectAsync(code, position, detailed: request.Number("detail_level", 0) > 0, CancellationToken.None)
            .ConfigureAwait(false);
        return new JsonObject { ["found"] = found is not null, ["data"] = found?.ToJson() ?? [], ["metadata"] = new JsonObject() };
    }

    /// <summary>Answers an <c>is_complete_request</c>.</summary>
    public static JsonObject Judge(JupyterMessage request)
    {
        var answer = CodeAssistant.Judge(request.Text("code") ?? "");
        var reply = new JsonObject { ["status"] = answer.Status.ToString().ToLowerInvariant() };
        if (answer.Status == CompletenessStatus.Incomplete)
        {
            reply["indent"] = answer.Indent;
        }

        return reply;
    }

    public void Dispose() => _assistant.Dispose();

    private static (string Code, int Position) CodeAndCursor(JupyterMessage request)
    {
        var code = request.Text("code") ?? "";
        return (code, TextPositions.ToIndex(code, request.Number("cursor_pos", int.MaxValue)));
    }
}
