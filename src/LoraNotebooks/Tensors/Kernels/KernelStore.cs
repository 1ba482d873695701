using System.Text.Json;

namespace LoraNotebooks.Tensors.Kernels;

/// <summary>Answers that were measured on this machine, in a file.</summary>
/// <param name="path">The file, whose name tells processor, library and settings; <see langword="null"/> keeps nothing.</param>
internal sealed class KernelStore(string? path)
{
    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true };

    private readonly Lock _gate = new();

    /// <summary>What is kept about a question, if it is one of its ways.</summary>
    public KernelVerdict? Find(KernelChoice choice) =>
        Read().GetValueOrDefault(choice.Name) is { } kept && (kept.Way == choice.Usual || kept.Way == choice.Other) ? kept : null;

    /// <summary>Keeps an answer.</summary>
    public void Keep(KernelChoice choice, KernelVerdict verdict)
    {
        if (path is null)
        {
            return;
        }

        lock (_gate)
        {
            try
            {
                AtomicFile.WriteAllText(path, JsonSerializer.Serialize(new Dictionary<string, KernelVerdict>(Read()) { [choice.Name] = verdict }, Json));
            }
            catch (Exception error) when (error is IOException or UnauthorizedAccessException)
            {
                // Without a place of its own, each process measures anew.
            }
        }
    }

    private Dictionary<string, KernelVerdict> Read()
    {
        try
        {
            return path is not null && File.Exists(path)
                ? JsonSerializer.Deserialize<Dictionary<string, KernelVerdict>>(File.ReadAllText(path), Json) ?? []
                : [];
        }
        catch (Exception error) when (error is IOException or UnauthorizedAccessException or JsonException)
        {
            return [];
        }
    }
}
