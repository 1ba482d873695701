using System.CommandLine;

namespace LoraNotebooks.Kernel.Commands;

/// <summary>The program's commands.</summary>
internal static class CommandLine
{
    /// <summary>All of them.</summary>
    public static RootCommand Create() => new("LoraNotebooks: LoRA fine-tuning in C# notebooks.")
    {
        RunCommand.Create(),
        LabCommand.Create(),
        KernelCommand.Create(),
        CheckCommand.Create(),
        StripCommand.Create(),
        DoctorCommand.Create(),
        LoraCommand.Create(),
        PretrainCommand.Create(),
        ModelCommand.Create(),
    };
}
