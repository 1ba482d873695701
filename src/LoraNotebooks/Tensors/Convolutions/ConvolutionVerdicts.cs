using System.Text.Json;
using System.Text.Json.Serialization;

namespace LoraNotebooks.Tensors.Convolutions;

/// <summary>What was found about this machine's kernels, kept in a file, so that it is looked for once and decided always alike.</summary>
/// <param name="path">The file, whose name tells processor, library and settings; <see langword="null"/> keeps nothing.</param>
internal sealed class ConvolutionVerdicts(string? path)
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Converters = { new JsonStringEnumConverter() } };

    private readonly Lock _gate = new();
    private Content? _content;

    /// <summary>What the self-check found here, if it ran before.</summary>
    public ConvolutionFindings? Findings => Read().Findings;

    /// <summary>The verdict on a case, if there is one.</summary>
    public ConvolutionWay? Find(ConvolutionCase of) => Read().Ways.TryGetValue(of.ToString(), out var way) ? way : null;

    /// <summary>Keeps what the self-check found.</summary>
    public void Keep(ConvolutionFindings findings)
    {
        if (Findings is null)
        {
            Write(old => old with { Findings = findings });
        }
    }

    /// <summary>Keeps the verdict on a case.</summary>
    public void Keep(ConvolutionCase of, ConvolutionWay way) => Write(old => old with { Ways = new(old.Ways) { [of.ToString()] = way } });

    private Content Read()
    {
        lock (_gate)
        {
            return _content ??= FromFile();
        }
    }

    private void Write(Func<Content, Content> change)
    {
        lock (_gate)
        {
            _content = change(_content ?? FromFile());
            if (path is null)
            {
                return;
            }

            // Another process may have written other verdicts in the meantime. Lost ones are found again.
            try
            {
                AtomicFile.WriteAllText(path, JsonSerializer.Serialize(_content, Json));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // Without a place of its own, each process looks anew.
            }
        }
    }

    private Content FromFile()
    {
        try
        {
            return path is not null && File.Exists(path)
                && JsonSerializer.Deserialize<Content>(File.ReadAllText(path), Json) is { Ways: not null } kept
                    ? kept
                    : new Content(null, []);
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return new Content(null, []);
        }
    }

    private sealed record Content(ConvolutionFindings? Findings, Dictionary<string, ConvolutionWay> Ways);
}
