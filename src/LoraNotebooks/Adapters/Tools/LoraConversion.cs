using LoraNotebooks.Formats;

namespace LoraNotebooks.Adapters.Tools;

/// <summary>Writes a LoRA of one kind as another.</summary>
public static class LoraConversion
{
    /// <summary>Reads a LoRA of any kind and writes it as another. Weights are not computed with; only names, settings and, if asked for, the type change.</summary>
    /// <param name="source">A folder (PEFT, or diffusers with its one file) or a .safetensors file.</param>
    /// <param name="destination">The file, or for PEFT the folder.</param>
    /// <param name="writing">The kind and the type.</param>
    /// <exception cref="FileNotFoundException">There is no LoRA at the source.</exception>
    /// <exception cref="InvalidDataException">The source has strange names; all are listed.</exception>
    /// <exception cref="ArgumentException">The other kind has no place for some weights; all are listed, and nothing is written.</exception>
    public static void Convert(string source, string destination, LoraWriting writing)
    {
        ArgumentNullException.ThrowIfNull(destination);
        ArgumentNullException.ThrowIfNull(writing);
        using var file = LoraFile.Read(source);
        LoraFileSet.Write(destination, LoraStates.WithOwnAlphas(file.States), file.Metadata, writing);
    }
}
