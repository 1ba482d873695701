using LoraNotebooks.Formats;

namespace LoraNotebooks.Models.Original;

/// <summary>How a parameter lies in an original checkpoint.</summary>
internal enum OriginalForm
{
    /// <summary>As it is here.</summary>
    Whole,

    /// <summary>As a 1×1 convolution, [out, in, 1, 1], where it is a linear layer here.</summary>
    PointConvolution,

    /// <summary>As the first, second or last third of the rows of one tensor for query, key and value.</summary>
    Third,

    /// <summary>With rows for columns.</summary>
    Transposed,
}

/// <summary>Where an original checkpoint has a parameter.</summary>
/// <param name="Key">The tensor's name.</param>
/// <param name="Form">Its form.</param>
/// <param name="Part">Which third.</param>
internal sealed record OriginalTensor(string Key, OriginalForm Form = OriginalForm.Whole, int Part = 0)
{
    private const int Thirds = 3;

    /// <summary>The tensor in a file that has it, in the form that it has here.</summary>
    public WeightSource In(SafetensorsFile file)
    {
        var stored = file.Tensors[Key].Shape;
        return Form switch
        {
            OriginalForm.PointConvolution when stored is [var rows, var columns, 1, 1] =>
                new(file, Key, [rows, columns], tensor => tensor.reshape(rows, columns)),
            OriginalForm.Third when stored is [var all, ..] && all % Thirds == 0 =>
                new(file, Key, [all / Thirds, .. stored.Skip(1)], tensor => tensor.narrow(0, Part * (all / Thirds), all / Thirds)),
            OriginalForm.Transposed when stored is [var rows, var columns] => new(file, Key, [columns, rows], static tensor => tensor.t()),
            _ => WeightSource.Whole(file, Key),
        };
    }
}
