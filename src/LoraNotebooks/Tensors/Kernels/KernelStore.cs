namespace LoraNotebooks.Tensors.Kernels;

/// <summary>Answers that were measured on this machine, in a file.</summary>
/// <param name="path">The file as it is named when it is asked for, since the number of threads may change; <see langword="null"/> keeps nothing.</param>
internal sealed class KernelStore(Func<string?> path)
{
    private readonly Lock _gate = new();

    /// <summary>What is kept about a question, if it is one of its ways.</summary>
    public KernelVerdict? Find(KernelChoice choice) =>
        Read().GetValueOrDefault(choice.Name) is { } kept && (kept.Way == choice.Usual || kept.Way == choice.Other) ? kept : null;

    /// <summary>Keeps an answer.</summary>
    public void Keep(KernelChoice choice, KernelVerdict verdict)
    {
        lock (_gate)
        {
            MachineFile.Write(path(), new Dictionary<string, KernelVerdict>(Read()) { [choice.Name] = verdict });
        }
    }

    private Dictionary<string, KernelVerdict> Read() => MachineFile.Read<Dictionary<string, KernelVerdict>>(path()) ?? [];
}
