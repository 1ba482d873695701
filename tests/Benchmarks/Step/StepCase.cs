using System.Globalization;
using TorchSharp;

namespace Benchmarks.Step;

/// <summary>What is trained, and on what.</summary>
/// <param name="Model">base (the embedded one), sd15 or xl (its UNet with random weights).</param>
/// <param name="Pixels">The side of the pictures; latents have an eighth of it, those of the embedded base a quarter.</param>
/// <param name="Type">fp32 or bf16, the type of the frozen weights.</param>
/// <param name="Layers">attention or all: where the LoRA of rank 8 is.</param>
/// <param name="Batch">The pictures of a step.</param>
internal sealed record StepCase(string Model, int Pixels, string Type, string Layers, int Batch)
{
    /// <summary>The type of the frozen weights.</summary>
    public torch.ScalarType ScalarType => Type == "bf16" ? torch.ScalarType.BFloat16 : torch.ScalarType.Float32;

    /// <summary>The case's name, and what a process is told to measure it.</summary>
    public IReadOnlyList<string> Arguments => [Model, Number(Pixels), Type, Layers, Number(Batch)];

    /// <summary>The case of such arguments.</summary>
    public static StepCase Parse(IReadOnlyList<string> arguments) =>
        new(arguments[0], int.Parse(arguments[1], CultureInfo.InvariantCulture), arguments[2], arguments[3], int.Parse(arguments[4], CultureInfo.InvariantCulture));

    /// <inheritdoc/>
    public override string ToString() => $"{Model}, {Pixels} pixels, {Type}, LoRA on {(Layers == "all" ? "all layers" : "attention")}, batch {Batch}";

    private static string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
}
