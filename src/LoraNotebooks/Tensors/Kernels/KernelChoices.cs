using static TorchSharp.torch;

namespace LoraNotebooks.Tensors.Kernels;

/// <summary>The questions of speed that each machine answers for itself.</summary>
public static class KernelChoices
{
    /// <summary>
    /// The environment variable that answers in advance, so that runs on other machines, too, compute alike: <c>auto</c> (default) measures;
    /// <c>usual</c> takes every usual way; <c>attention=sliced</c> sets the ways that are named, with commas between them.
    /// </summary>
    public const string Variable = "LORANOTEBOOKS_KERNELS";

    /// <summary>Counts up where trials change.</summary>
    private const int Version = 1;

    private static readonly KernelSettings Settings = new(Environment.GetEnvironmentVariable(Variable), static () => All!);
    private static readonly KernelStore Store = new(static () => MachineFile.Of("choices", Version));

    /// <summary>
    /// Attention in 16 bits over so many tokens that scores are not kept: libtorch's fused kernel, or the scores written out slice by slice. Where the
    /// processor has products in bfloat16, libtorch 2.10's fused kernel makes little use of them.
    /// </summary>
    public static KernelChoice Attention16 { get; } = new("attention", "fused", "sliced", Settings, Store, static () =>
    {
        const int heads = 4, tokens = 1024, dimension = 64;
        using var generator = new Generator(1);
        Tensor[] inputs =
        [
            .. Enumerable.Range(0, 3).Select(_ => randn([heads, tokens, dimension], generator: generator).to(ScalarType.BFloat16).requires_grad_()),
        ];
        var gradient = randn([heads, tokens, dimension], generator: generator).to(ScalarType.BFloat16);
        return (
            () => autograd.grad([nn.functional.scaled_dot_product_attention(inputs[0], inputs[1], inputs[2])], inputs, [gradient]),
            () => autograd.grad([SlicedAttention.Attend(inputs[0], inputs[1], inputs[2])], inputs, [gradient]));
    });

    /// <summary>All questions.</summary>
    public static IReadOnlyList<KernelChoice> All { get; } = [Attention16];

    /// <summary>The ways that this process takes where they are not the usual ones, e.g. "attention sliced"; empty if none.</summary>
    public static string Describe() =>
        string.Join(", ", All.Where(static choice => choice.IsDecided && choice.TakesOther).Select(static choice => $"{choice.Name} {choice.Other}"));
}
