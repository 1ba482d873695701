using System.Text.Json;
using System.Text.Json.Nodes;

namespace LoraNotebooks.Training.Loop;

/// <summary>What the record of a stopped run tells, so that the record of the run that goes on tells it too.</summary>
/// <param name="Steps">Its steps.</param>
/// <param name="Checkpoints">The names of its adapter files.</param>
/// <param name="UntrainedLayers">The layers that learnt nothing in it.</param>
internal sealed record EarlierRecord(IReadOnlyList<JsonNode> Steps, IReadOnlyList<string> Checkpoints, IReadOnlyList<string> UntrainedLayers)
{
    /// <summary>Of a run that begins anew.</summary>
    public static EarlierRecord None { get; } = new([], [], []);

    /// <summary>The record beside a state; nothing where there is none.</summary>
    /// <param name="stateFile">The state.</param>
    /// <param name="stateEnding">How names of states end.</param>
    /// <param name="recordEnding">How names of records end.</param>
    /// <param name="step">The step before which steps are taken.</param>
    /// <exception cref="InvalidDataException">The file is no record.</exception>
    public static EarlierRecord Beside(string stateFile, string stateEnding, string recordEnding, int step)
    {
        var file = stateFile.EndsWith(stateEnding, StringComparison.Ordinal) ? stateFile[..^stateEnding.Length] + recordEnding : null;
        if (!File.Exists(file))
        {
            return None;
        }

        try
        {
            var record = JsonNode.Parse(File.ReadAllText(file))!;
            return new(
                [.. record["steps"]!.AsArray().Where(taken => taken!["step"]!.GetValue<int>() < step).Select(static taken => taken!.DeepClone())],
                Texts(record["checkpoints"]),
                Texts(record["untrainedLayers"]));
        }
        catch (Exception error) when (error is JsonException or InvalidOperationException or NullReferenceException or FormatException)
        {
            throw new InvalidDataException(
                $"'{file}' is not the record of a run: got {error.Message} Expected the file that was written with '{stateFile}', "
                + "whose steps the new record goes on with. Restore it, or move it away to go on without them.",
                error);
        }
    }

    private static IReadOnlyList<string> Texts(JsonNode? list) => [.. (list?.AsArray() ?? []).Select(static text => text!.GetValue<string>())];
}
