namespace LoraNotebooks.Adapters;

/// <summary>What ΔW is made of.</summary>
public enum AdapterMethod
{
    /// <summary>ΔW = s·B·A, two thin matrices (LoRA; for convolutions also called LoCon).</summary>
    Lora,

    /// <summary>ΔW = s·(A₁·B₁) ⊙ (A₂·B₂), two low-rank matrices multiplied number by number (LoHa).</summary>
    Loha,

    /// <summary>ΔW = s·W₁ ⊗ W₂, a Kronecker product of small matrices (LoKr).</summary>
    Lokr,
}
